//! The guide's own words: its configuration is the one that is tested, and its snippets are run as they stand.
