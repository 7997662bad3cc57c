//! Rounds that alternate. Times of one machine drift by more than contenders differ, so every contender has a turn in every round, and what is told is
//! a median. The order is another one in each round, and there is a pause before each turn: who comes after a contender that is still falling asleep
//! would be at a disadvantage.

use std::time::Duration;

/// Longer than any receiver spins when it has nothing to do, Go's scheduler included.
const PAUSE: Duration = Duration::from_millis(5);

/// Measures itself once in a round. Setting up and warming up are not part of it.
pub trait Contender {
    fn name(&self) -> String;

    /// One value for each figure of the scenario.
    fn round(&mut self) -> Vec<f64>;
}

/// The rounds of one contender.
pub struct Measured {
    pub name: String,
    /// By round, then by figure.
    pub rounds: Vec<Vec<f64>>,
}

impl Measured {
    /// Whether it measures this figure.
    pub fn has(&self, figure: usize) -> bool {
        self.rounds.iter().all(|round| figure < round.len())
    }

    /// The median of one figure over the rounds.
    pub fn median(&self, figure: usize) -> f64 {
        quantile(&mut self.column(figure), 0.5)
    }

    /// The quarter of the rounds below, and above.
    pub fn quartiles(&self, figure: usize) -> (f64, f64) {
        let mut column = self.column(figure);
        (quantile(&mut column, 0.25), quantile(&mut column, 0.75))
    }

    fn column(&self, figure: usize) -> Vec<f64> {
        self.rounds.iter().map(|round| round[figure]).collect()
    }
}

/// So many rounds after `warm` that do not count.
pub fn alternate(contenders: &mut [Box<dyn Contender>], warm: usize, rounds: usize) -> Vec<Measured> {
    let mut all: Vec<_> =
        contenders.iter().map(|contender| Measured { name: contender.name(), rounds: Vec::new() }).collect();
    let mut order: Vec<_> = (0..contenders.len()).collect();
    // The same orders in every run.
    let mut random = fastrand::Rng::with_seed(6);
    for round in 0..warm + rounds {
        random.shuffle(&mut order);
        for &at in &order {
            std::thread::sleep(PAUSE);
            let values = contenders[at].round();
            if round >= warm {
                all[at].rounds.push(values);
            }
        }
    }
    all
}

/// The value below which this share of `values` is. Sorts them.
pub fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index"
    )]
    let at = (share * last as f64).ceil() as usize;
    values.get(at).copied().unwrap_or(f64::NAN)
}
