//! A sum of any doubles that does not overflow, whatever order it is made in.

/// Numbers are kept so much smaller: 2^72 of the greatest double come to a double, be they many events, or one that
/// holds for all of time in nanoseconds. What lies nearer to 0 than 1e-286 loses digits by it, and nothing else does.
const SCALE: f64 = 1.0 / (1_u128 << 72) as f64;

/// A sum that remembers what rounding has cut off (Neumaier 1974).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sum {
    sum: f64,
    lost: f64,
}

/// A sum as it is kept on disk.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Total {
    /// As it is.
    Plain(f64),
    /// Beyond the doubles: made smaller.
    Scaled(f64),
}

impl Sum {
    /// `number`, so many times.
    pub(crate) fn of(number: f64, times: f64) -> Self {
        Self { sum: number * SCALE * times, lost: 0.0 }
    }

    /// Takes another sum in.
    pub(crate) fn join(&mut self, other: Self) {
        let sum = self.sum + other.sum;
        if sum.is_finite() {
            let (large, small) =
                if self.sum.abs() >= other.sum.abs() { (self.sum, other.sum) } else { (other.sum, self.sum) };
            self.lost += (large - sum) + small;
        }
        self.sum = sum;
        self.lost += other.lost;
    }

    /// The sum divided by `count`, of which there were at least so many: finite, if all numbers were.
    pub(crate) fn over(self, count: f64) -> f64 {
        let scaled = self.scaled() / count;
        let mean = scaled / SCALE;
        // Only rounding takes a mean beyond the doubles.
        if scaled.is_finite() { mean.clamp(f64::MIN, f64::MAX) } else { mean }
    }

    /// To be kept.
    pub(crate) fn total(self) -> Total {
        let (scaled, plain) = (self.scaled(), self.scaled() / SCALE);
        // What is infinite because a number was is so in either form.
        if plain.is_finite() || !scaled.is_finite() { Total::Plain(plain) } else { Total::Scaled(scaled) }
    }

    fn scaled(self) -> f64 {
        if self.sum.is_finite() { self.sum + self.lost } else { self.sum }
    }
}

impl From<Total> for Sum {
    fn from(total: Total) -> Self {
        match total {
            Total::Plain(total) => Self::of(total, 1.0),
            Total::Scaled(sum) => Self { sum, lost: 0.0 },
        }
    }
}
