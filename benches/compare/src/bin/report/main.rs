//! Reads the lines of a comparison from its input, and says of each mark whether it is met. With `--readme` it also writes tables and plots.
//!
//! The part of the README between `<!-- figures -->` and `<!-- end of figures -->` is replaced; the plots go in the folder `figures` beside it.

mod groups;
mod plot;
mod table;

use std::io::{Error, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use compare::figure::Figure;
use compare::marks::{Judged, judge};

/// Says of each mark whether it is met
#[derive(Parser)]
struct Args {
    /// Write tables and plots for this README
    #[arg(long, value_name = "FILE")]
    readme: Option<PathBuf>,
}

const BEGIN: &str = "<!-- figures -->\n";
const END: &str = "<!-- end of figures -->\n";

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("report: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Error> {
    let mut input = String::new();
    std::io::stdin().read_to_string(&mut input)?;
    let figures: Vec<Figure> = input.lines().filter_map(Figure::parse).collect();
    let (mut met, mut missed) = (0, 0);
    for judged in judge(&figures) {
        let verdict = if judged.is_met() { "met" } else { "missed" };
        *if judged.is_met() { &mut met } else { &mut missed } += 1;
        let Judged { scenario, whose, contender, at_most, value } = judged;
        println!("# mark {scenario} {whose} {contender} {value:.3} at most {at_most} {verdict}");
    }
    println!("# marks: {met} met, {missed} missed");
    args.readme.as_ref().map_or(Ok(()), |readme| write(readme, &input, &figures))
}

fn write(readme: &Path, input: &str, figures: &[Figure]) -> Result<(), Error> {
    let folder = readme.parent().unwrap_or(Path::new(".")).join("figures");
    std::fs::create_dir_all(&folder)?;
    let mut made = String::new();
    // Machine, toolchain, commit and what could not be measured.
    for line in input.lines().filter_map(|line| line.strip_prefix("# ")) {
        if let Some(fact) = line.strip_prefix("fact ") {
            made += &format!("- {fact}\n");
        }
    }
    for group in groups::GROUPS {
        if let Some(table) = table::of(group, figures) {
            made += &format!("\n### {}\n\n{table}", group.title);
            if plot::draw(group, figures, &folder.join(format!("{}.svg", group.name))).map_err(Error::other)? {
                made += &format!("\n![{}](figures/{}.svg)\n", group.title, group.name);
            }
        }
    }
    made += &format!("\n### Marks\n\n{}\n", table::of_marks(figures));
    let text = std::fs::read_to_string(readme)?;
    let parts = text.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, after) = parts.ok_or_else(|| Error::other("the README has no place for figures"))?;
    std::fs::write(readme, format!("{before}{BEGIN}{made}{END}{after}"))
}
