//! A page of metrics in Prometheus' text format (<https://prometheus.io/docs/instrumenting/exposition_formats/>), as far as a
//! server writes it: without time stamps, the help and the types not looked at.

/// What a server tells of itself at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Page(Vec<Sample>);

#[derive(Clone, Debug, PartialEq)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

/// How many values were at most so large, by bound.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Buckets(Vec<(f64, f64)>);

impl Page {
    /// The samples of a page; a line that is none is passed over.
    pub(super) fn parse(text: &str) -> Self {
        Self(text.lines().filter(|line| !line.starts_with('#')).filter_map(Sample::parse).collect())
    }

    /// The sum over all labels; none if there is no such metric.
    pub(super) fn value(&self, name: &str) -> Option<f64> {
        let mut values = self.of(name).map(|sample| sample.value).peekable();
        values.peek().is_some().then(|| values.sum())
    }

    /// The sum over those with this label.
    pub(super) fn labelled(&self, name: &str, label: &str, text: &str) -> Option<f64> {
        let mut values =
            self.by(name, label).filter(|(own, _)| *own == text).map(|(_, value)| value).peekable();
        values.peek().is_some().then(|| values.sum())
    }

    /// Each value with what a label says of it.
    pub(super) fn by<'a>(
        &'a self,
        name: &'a str,
        label: &'a str,
    ) -> impl Iterator<Item = (&'a str, f64)> + 'a {
        self.of(name).filter_map(move |sample| Some((sample.label(label)?, sample.value)))
    }

    /// A histogram of one series.
    pub(super) fn buckets(&self, name: &str) -> Buckets {
        let name = format!("{name}_bucket");
        let bounds = self.by(&name, "le").filter_map(|(bound, count)| Some((bound.parse().ok()?, count)));
        Buckets(bounds.collect())
    }

    fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Sample> + 'a {
        self.0.iter().filter(move |sample| sample.name == name)
    }
}

impl Buckets {
    /// Those that have come since. If the server was started anew meanwhile: since then.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let is_anew = self.0.iter().zip(&earlier.0).any(|((_, now), (_, then))| now < then);
        if is_anew || self.0.len() != earlier.0.len() {
            return self.clone();
        }
        Self(self.0.iter().zip(&earlier.0).map(|((bound, now), (_, then))| (*bound, now - then)).collect())
    }

    /// The value below which this part of all lie, between the bounds as if they were spread evenly. None of none.
    pub(super) fn quantile(&self, part: f64) -> Option<f64> {
        let all = self.0.last().map(|(_, count)| *count).filter(|count| *count > 0.0)?;
        let (mut lower, mut below) = (0.0, 0.0);
        for (bound, count) in &self.0 {
            if *count >= all * part && *count > below {
                let share = (all * part - below) / (count - below);
                return Some(if bound.is_finite() { lower + (bound - lower) * share } else { lower });
            }
            (lower, below) = (*bound, *count);
        }
        Some(lower)
    }
}

impl Sample {
    fn parse(line: &str) -> Option<Self> {
        let end = line.find(['{', ' '])?;
        let (name, rest) = line.split_at(end);
        let (labels, value) = match rest.strip_prefix('{') {
            Some(rest) => labels(rest)?,
            None => (Vec::new(), rest),
        };
        let value = value.split_ascii_whitespace().next()?.parse().ok()?;
        Some(Self { name: name.to_owned(), labels, value })
    }

    fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(own, _)| own == name).map(|(_, text)| text.as_str())
    }
}

/// The labels, and what follows them.
fn labels(mut rest: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let (text, after) = unquoted(quoted)?;
        labels.push((name.to_owned(), text));
        rest = after;
    }
}

/// The text up to the quote that ends it, and what follows.
fn unquoted(quoted: &str) -> Option<(String, &str)> {
    let (mut text, mut characters) = (String::new(), quoted.char_indices());
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return quoted.get(at + 1..).map(|rest| (text, rest)),
            '\\' => match characters.next()?.1 {
                'n' => text.push('\n'),
                other => text.push(other),
            },
            other => text.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PAGE: &str = "# TYPE a gauge\na 2\nb{x=\"one\",y=\"}, \\\"\\\\\\n\"} 3\nb{x=\"two\"} 4e1 \nnonsense\nc{x=\"\n\
        h_bucket{le=\"0.1\"} 0\nh_bucket{le=\"0.2\"} 10\nh_bucket{le=\"+Inf\"} 10\n";

    #[test]
    fn a_page_is_read() {
        let page = Page::parse(PAGE);
        assert_eq!((page.value("a"), page.value("b"), page.value("c")), (Some(2.0), Some(43.0), None));
        assert_eq!(page.labelled("b", "x", "one"), Some(3.0));
        assert_eq!(page.labelled("b", "x", "three"), None);
        assert_eq!(page.by("b", "y").collect::<Vec<_>>(), [("}, \"\\\n", 3.0)]);
    }

    #[test]
    fn quantiles_lie_between_the_bounds() {
        let buckets = Page::parse(PAGE).buckets("h");
        assert_eq!(buckets.quantile(0.5).map(|value| (value * 1000.0).round()), Some(150.0));
        assert_eq!(buckets.since(&buckets).quantile(0.5), None);
        assert_eq!(buckets.since(&Buckets::default()), buckets);
        let all_above = Buckets(vec![(0.1, 0.0), (f64::INFINITY, 3.0)]);
        assert_eq!(all_above.quantile(0.99), Some(0.1));
        let started_anew = Buckets(vec![(0.1, 0.0), (0.2, 3.0), (f64::INFINITY, 3.0)]);
        assert_eq!(started_anew.since(&buckets), started_anew);
    }

    proptest! {
        /// Whatever answers at that address.
        #[test]
        fn garbage_is_survived(text in "([a-z_]{0,8}[{ ]?[a-z\"=\\\\,}]{0,12} ?[0-9.eE+-]{0,6}\n?){0,20}") {
            let page = Page::parse(&text);
            let _ = page.value("a");
        }
    }
}
