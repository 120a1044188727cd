//! Figures: medians and spreads, for people or as JSON.

use std::io::Write as _;

use anyhow::Result;
use serde_json::{Map, Value, json};

/// Where results go: standard output.
pub(crate) struct Report {
    json: bool,
}

/// One result: a JSON object, whose first fields say what was measured.
pub(crate) struct Line(Map<String, Value>);

/// The same figure of several rounds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series(Vec<f64>);

/// Progress is no result: it goes to standard error, and a closed one is no reason to stop.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

impl Report {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    pub(crate) fn print(&self, line: &Line) -> Result<()> {
        let mut out = std::io::stdout();
        if self.json {
            writeln!(out, "{}", Value::Object(line.0.clone()))?;
            return Ok(());
        }
        for (name, value) in &line.0 {
            writeln!(out, "{name:>24}  {value}")?;
        }
        writeln!(out)?;
        Ok(())
    }
}

impl Line {
    pub(crate) fn new(bench: &str) -> Self {
        Self(Map::new()).with("bench", bench)
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// The median, and least and most beside it.
    pub(crate) fn series(self, name: &str, series: &Series) -> Self {
        let Some((least, most)) = series.spread() else { return self.with(name, Value::Null) };
        self.with(name, rounded(series.median()))
            .with(&format!("{name}_spread"), json!([rounded(least), rounded(most)]))
    }
}

impl Series {
    pub(crate) fn push(&mut self, figure: f64) {
        self.0.push(figure);
    }

    /// Takes another's figures in.
    pub(crate) fn extend(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    /// 0 where there is nothing.
    pub(crate) fn median(&self) -> f64 {
        percentile(&mut self.0.clone(), 0.5)
    }

    fn spread(&self) -> Option<(f64, f64)> {
        let least = self.0.iter().copied().min_by(f64::total_cmp)?;
        Some((least, self.0.iter().copied().max_by(f64::total_cmp)?))
    }

    /// Round by round, so that what slows both down cancels out.
    pub(crate) fn over(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(ours, theirs)| ours / theirs).collect())
    }
}

/// The figure below which that share of them lies.
pub(crate) fn percentile(figures: &mut [f64], share: f64) -> f64 {
    figures.sort_by(f64::total_cmp);
    let at = ((figures.len() as f64 * share) as usize).min(figures.len().saturating_sub(1));
    figures.get(at).copied().unwrap_or_default()
}

/// Four digits that mean something, and no more.
pub(crate) fn rounded(figure: f64) -> Value {
    if figure.abs() >= 1000.0 {
        return json!(figure.round());
    }
    let scale = if figure.abs() >= 10.0 { 10.0 } else { 1000.0 };
    json!((figure * scale).round() / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_taken_round_by_round() {
        let (mut ours, mut theirs) = (Series::default(), Series::default());
        for (a, b) in [(1.0, 2.0), (30.0, 40.0), (9.0, 10.0)] {
            ours.push(a);
            theirs.push(b);
        }
        assert!((ours.over(&theirs).median() - 0.75).abs() < 1e-9);
        assert_eq!(ours.spread(), Some((1.0, 30.0)));
    }

    #[test]
    fn nothing_measured_is_nothing_claimed() {
        assert!(Series::default().median().abs() < 1e-9);
        assert_eq!(Line::new("x").series("y", &Series::default()).0["y"], Value::Null);
    }
}
