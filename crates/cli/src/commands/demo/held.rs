//! For how long requests were held, summed up over the gates' own histograms.

use std::collections::BTreeMap;

const BUCKET: &str = "handover_gate_held_seconds_bucket{le=\"";

/// Held requests by the bounds of the histogram's buckets, in microseconds; each counts those below it too.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Held(BTreeMap<u64, u64>);

impl Held {
    /// Adds what one process tells in Prometheus' text format.
    pub(crate) fn add(&mut self, text: &str) {
        let buckets = text.lines().filter_map(|line| line.strip_prefix(BUCKET)?.split_once("\"} "));
        for (bound, count) in buckets {
            let bound = if bound == "+Inf" { Some(f64::MAX) } else { bound.parse::<f64>().ok() };
            if let (Some(bound), Ok(count)) = (bound, count.trim().parse::<u64>()) {
                *self.0.entry((bound * 1e6) as u64).or_default() += count;
            }
        }
    }

    /// How many requests were held.
    pub(crate) fn count(&self) -> u64 {
        self.0.values().last().copied().unwrap_or_default()
    }

    /// The time that so large a share was not held for longer than, in milliseconds: between two bounds as if all
    /// were spread evenly, and the last bound where it is beyond that. 0 if none was held.
    pub(crate) fn percentile_ms(&self, share: f64) -> f64 {
        let wanted = self.count() as f64 * share;
        let (mut from, mut before) = (0_u64, 0_u64);
        for (bound, count) in &self.0 {
            if *count as f64 >= wanted && *count > before {
                let bound = if *bound == u64::MAX { from } else { *bound };
                let part = (wanted - before as f64) / (count - before) as f64;
                return (from as f64 + (bound - from) as f64 * part) / 1e3;
            }
            (from, before) = (*bound, *count);
        }
        0.0
    }

    /// The same as a text; `-` if none was held.
    pub(crate) fn percentile_text(&self, share: f64) -> String {
        if self.count() == 0 { "-".to_owned() } else { format!("{:.0} ms", self.percentile_ms(share)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# TYPE handover_gate_held_seconds histogram\n\
        handover_gate_held_seconds_bucket{le=\"0.1\"} 50\nhandover_gate_held_seconds_bucket{le=\"0.2\"} 98\n\
        handover_gate_held_seconds_bucket{le=\"0.4\"} 100\nhandover_gate_held_seconds_bucket{le=\"+Inf\"} 100\n\
        handover_gate_held_seconds_sum 12\n";

    #[test]
    fn percentiles_lie_between_the_bounds_that_enclose_them() {
        let mut held = Held::default();
        assert_eq!((held.count(), held.percentile_ms(0.99)), (0, 0.0));
        held.add(TEXT);
        assert_eq!((held.count(), held.percentile_ms(0.5), held.percentile_ms(0.99)), (100, 100.0, 300.0));
        held.add(TEXT);
        assert_eq!((held.count(), held.percentile_ms(0.99)), (200, 300.0));
        let mut long = Held::default();
        long.add("handover_gate_held_seconds_bucket{le=\"0.4\"} 0\nhandover_gate_held_seconds_bucket{le=\"+Inf\"} 3\n");
        assert_eq!(
            (long.count(), long.percentile_ms(0.99)),
            (3, 400.0),
            "no more is known than that it was longer"
        );
    }
}
