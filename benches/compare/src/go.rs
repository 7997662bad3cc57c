//! Go's docker/go-events, in a process of its own: `benches/go-events`. It measures itself. A line that it reads is one round, a line that it answers is
//! the figures of that round. Between its rounds it waits, and so do our threads between ours.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Error, ErrorKind, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;

use crate::rounds::Contender;

#[derive(Clone)]
pub struct Go(Rc<RefCell<Process>>);

struct Process {
    child: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Go {
    pub fn start(program: &Path) -> Result<Self, Error> {
        let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let questions = child.stdin.take();
        let answers = child.stdout.take().ok_or(ErrorKind::BrokenPipe)?;
        Ok(Self(Rc::new(RefCell::new(Process { child, questions, answers: BufReader::new(answers) }))))
    }

    /// One round of what `question` names.
    pub fn ask(&self, question: &str) -> Result<Vec<f64>, Error> {
        let mut process = self.0.borrow_mut();
        let questions = process.questions.as_mut().ok_or(ErrorKind::BrokenPipe)?;
        writeln!(questions, "{question}")?;
        let mut answer = String::new();
        process.answers.read_line(&mut answer)?;
        let values: Result<Vec<f64>, _> = answer.split_whitespace().map(str::parse).collect();
        match values {
            Ok(values) if !values.is_empty() => Ok(values),
            _ => Err(Error::other(format!("the Go program answers `{}` to `{question}`", answer.trim()))),
        }
    }

    /// A contender whose round is this question. `pick` says which values of the answer are its figures.
    pub fn contender(&self, name: &'static str, question: String, pick: &'static [usize]) -> Box<dyn Contender> {
        Box::new(Round { go: self.clone(), name, question, pick })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It ends at the end of its input.
        drop(self.questions.take());
        let _ = self.child.wait();
    }
}

struct Round {
    go: Go,
    name: &'static str,
    question: String,
    pick: &'static [usize],
}

impl Contender for Round {
    fn name(&self) -> String {
        self.name.into()
    }

    fn round(&mut self) -> Vec<f64> {
        let values = self.go.ask(&self.question).expect("the Go program runs");
        self.pick.iter().map(|at| values[*at]).collect()
    }
}
