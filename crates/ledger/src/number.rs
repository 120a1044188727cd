//! Numbers in texts: each write puts its own number into what it writes, so that the final rows tell which writes they
//! hold, and how often.

/// What a number in a text stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mark {
    /// A reminder that was made; stands in its subject and body.
    Made,
    /// A note that was appended to a reminder's body.
    Note,
    /// A footer of settings.
    Footer,
    /// A user who signed up.
    User,
}

impl Mark {
    const ALL: [Self; 4] = [Self::Made, Self::Note, Self::Footer, Self::User];

    fn letter(self) -> char {
        match self {
            Self::Made => 'w',
            Self::Note => 'n',
            Self::Footer => 'f',
            Self::User => 'u',
        }
    }

    /// The number as it stands in a text: `<w17>`.
    pub fn text(self, number: u64) -> String {
        format!("<{}{number}>", self.letter())
    }

    /// All numbers of this mark in a text, as often as they stand there.
    pub fn find(self, text: &str) -> Vec<u64> {
        marks(text).filter(|(mark, _)| *mark == self).map(|(_, number)| number).collect()
    }
}

/// Every mark of a text, in order.
pub fn marks(text: &str) -> impl Iterator<Item = (Mark, u64)> {
    text.split('<').skip(1).filter_map(|rest| {
        let (inside, _) = rest.split_once('>')?;
        let letter = inside.chars().next()?;
        let mark = Mark::ALL.into_iter().find(|mark| mark.letter() == letter)?;
        let digits = inside.get(1..)?;
        digits
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| digits.parse().ok())?
            .map(|number| (mark, number))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_as_often_as_they_stand_there() {
        let text = format!("a < b {} x{}{}<n>", Mark::Made.text(7), Mark::Note.text(12), Mark::Note.text(12));
        assert_eq!(marks(&text).collect::<Vec<_>>(), [(Mark::Made, 7), (Mark::Note, 12), (Mark::Note, 12)]);
        assert_eq!(Mark::Note.find(&text), [12, 12]);
    }

    #[test]
    fn what_is_no_number_is_passed_over() {
        for text in ["", "<", "<>", "<w>", "<w-1>", "<w1", "w1>", "<x1>", "<w1 >", "<ü1>"] {
            assert_eq!(marks(text).count(), 0, "{text}");
        }
    }
}
