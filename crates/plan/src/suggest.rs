//! "Did you mean": the nearest of a few known words. It decides nothing.

/// The longest word that is compared; the comparison's cost is the square of it.
const LONGEST: usize = 128;

/// The word of `known` nearest to `word`, where one is near enough to be meant.
pub(crate) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let allowed = (word.chars().count() / 3).clamp(1, 4);
    known
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

/// `did you mean …? ` where a near word is known, followed by `otherwise`.
pub(crate) fn did_you_mean<'k>(
    word: &str,
    known: impl IntoIterator<Item = &'k str>,
    otherwise: &str,
) -> String {
    match nearest(word, known) {
        Some(candidate) => format!("did you mean `{candidate}`? {otherwise}"),
        None => otherwise.to_owned(),
    }
}

/// Insertions, deletions, replacements and swaps of neighbours between two words (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.to_lowercase().chars().take(LONGEST).collect();
    let b: Vec<char> = b.to_lowercase().chars().take(LONGEST).collect();
    let mut before_last = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before_last[j - 2] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        let known = ["extract", "read_back", "delete", "derived"];
        assert_eq!(nearest("extrct", known), Some("extract"));
        assert_eq!(nearest("readback", known), Some("read_back"));
        assert_eq!(nearest("dleete", known), Some("delete"));
        assert_eq!(nearest("Extract", known), Some("extract"));
    }

    #[test]
    fn an_unrelated_word_suggests_nothing() {
        assert_eq!(nearest("colour", ["extract", "delete"]), None);
        assert_eq!(nearest("", ["key"]), None);
    }
}
