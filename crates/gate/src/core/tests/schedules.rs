//! The schedules by which others have lost writes, one by one.

use super::world::{LEASE, REQUEST, at, core, known, place};
use crate::core::{Answered, Asking, Change, Core, Entry, Look, Lost, Permit, Read};

#[expect(clippy::unnecessary_wraps, reason = "as a read brings it")]
fn entry(number: u64, changes: &[(&str, &str)]) -> Option<Entry> {
    let change = |(user, text): &(&str, &str)| Change {
        user: (*user).to_owned(),
        known: text.parse::<handover_identity::Text>().ok().map(Into::into),
    };
    let changes = changes.iter().map(change).collect();
    Some(Entry { place: place(1, number, number), changes, forced: false })
}

fn read(core: &Core, sent: u64, entries: Vec<Option<Entry>>) -> Result<(), Lost> {
    core.read(Read { sent: at(sent), entries, complete: true })
}

/// A member that has read up to entry 2, with a lease from time 0.
fn following() -> Core {
    let core = core(100);
    core.member(at(0));
    core.positioned(place(1, 1, 1), at(0));
    read(&core, 0, vec![entry(1, &[]), entry(2, &[])]).unwrap();
    core
}

fn ask(core: &Core, user: &str, now: u64) -> Asking {
    match core.look(user, at(now)) {
        Look::Ask(asking) => asking,
        _ => panic!("{user} is to be asked for"),
    }
}

fn cached(core: &Core, user: &str, text: &str) -> Permit {
    let asking = ask(core, user, 0);
    match core.answered(&asking, known(text), at(0)) {
        Answered::Admitted(permit) => permit,
        _ => panic!("{user} is to be admitted"),
    }
}

fn busy(core: &Core, now: u64) -> (u64, Vec<String>) {
    let told = core.acknowledgement(at(now)).expect("a place");
    (told.place.number, told.busy)
}

#[test]
fn an_answer_that_a_change_overtook_neither_admits_nor_fills() {
    let core = following();
    let asking = ask(&core, "a", 1);
    read(&core, 1, vec![entry(2, &[]), entry(3, &[("a", "r1 m=migrating")])]).unwrap();
    assert_eq!(busy(&core, 1), (3, vec!["a".to_owned()]), "a look-up on its way counts");
    assert!(matches!(core.answered(&asking, known("r0"), at(1)), Answered::Again));
    drop(asking);
    assert_eq!(busy(&core, 1), (3, vec![]));
    assert!(matches!(core.look("a", at(1)), Look::Paused));
}

#[test]
fn an_answer_older_than_the_newest_change_is_thrown_away() {
    let core = following();
    drop(cached(&core, "a", "r5"));
    read(&core, 1, vec![entry(2, &[]), entry(3, &[("a", "r7")])]).unwrap();
    core.forget_user("a");
    let held = ask(&core, "a", 1);
    read(&core, 1, vec![entry(3, &[]), entry(4, &[("a", "r9")])]).unwrap();
    drop(core.look("a", at(1)));
    // The lease runs out, and a standby that lags answers.
    let late = LEASE + 1;
    core.member(at(late));
    let asking = ask(&core, "a", late);
    assert!(matches!(core.answered(&asking, known("r8 m=migrated"), at(late)), Answered::Again));
    assert!(matches!(core.answered(&asking, known("r9"), at(late)), Answered::Admitted(_)));
    drop(held);
}

#[test]
fn a_pause_is_acknowledged_once_its_last_request_has_ended() {
    let core = following();
    let (first, second) = (cached(&core, "a", "r1"), core.admit_cached("a", at(1)).unwrap());
    read(&core, 1, vec![entry(2, &[]), entry(3, &[("a", "r2 m=migrating")])]).unwrap();
    assert!(core.admit_cached("a", at(1)).is_none());
    assert_eq!(busy(&core, 1), (3, vec!["a".to_owned()]));
    drop(first);
    assert_eq!(busy(&core, 1).1, ["a"]);
    drop(second);
    assert_eq!(busy(&core, 1), (3, vec![]));
}

#[test]
fn a_heartbeat_renews_from_when_the_read_was_sent_and_nothing_else_renews() {
    let core = following();
    drop(cached(&core, "a", "r1"));
    core.member(at(100));
    // Complete and empty: proves nothing.
    read(&core, 5, vec![entry(2, &[])]).unwrap();
    assert!(core.cache_holds(at(LEASE - 1)) && !core.cache_holds(at(LEASE)));
    // Sent at 5; the answer to the next lay in the socket until now.
    read(&core, 6, vec![entry(2, &[]), entry(3, &[])]).unwrap();
    assert!(core.cache_holds(at(LEASE + 4)) && !core.cache_holds(at(LEASE + 5)));
    assert!(core.admit_cached("a", at(LEASE + 5)).is_none());
}

#[test]
fn entries_that_lay_in_a_stream_at_connecting_renew_nothing() {
    let core = following();
    core.member(at(100));
    core.connected();
    read(&core, 50, vec![entry(2, &[]), entry(3, &[]), entry(4, &[])]).unwrap();
    assert!(!core.cache_holds(at(50)), "a server that was cut off holds them as well");
    read(&core, 51, vec![entry(4, &[]), entry(5, &[])]).unwrap();
    assert!(core.cache_holds(at(51)));
}

#[test]
fn every_break_of_the_sequence_forgets_everything() {
    let breaks: [(Vec<Option<Entry>>, Lost); 6] = [
        (vec![], Lost::Place),
        (vec![entry(3, &[])], Lost::Place),
        (vec![entry(2, &[]), entry(4, &[])], Lost::Gap),
        (vec![entry(2, &[]), entry(2, &[])], Lost::Gap),
        (vec![entry(2, &[]), entry(3, &[]).map(|e| Entry { place: place(2, 3, 3), ..e })], Lost::Generation),
        (vec![entry(2, &[]), None], Lost::Garbled),
    ];
    for (entries, lost) in breaks {
        let core = following();
        let permit = cached(&core, "a", "r1");
        drop(cached(&core, "b", "r1"));
        assert_eq!(read(&core, 1, entries), Err(lost));
        assert!(core.place().is_none() && !core.cache_holds(at(1)));
        assert!(matches!(core.look("a", at(1)), Look::Ask(_)));
        // Whoever was in flight may be paused by what was missed.
        core.positioned(place(2, 1, 9), at(1));
        assert_eq!(busy(&core, 1), (1, vec!["a".to_owned()]));
        drop(permit);
        assert_eq!(busy(&core, 1), (1, vec![]));
    }
}

#[test]
fn an_older_copy_with_the_same_numbers_is_noticed() {
    let core = following();
    let other = entry(2, &[]).map(|e| Entry { place: place(1, 2, 7), ..e });
    assert_eq!(read(&core, 1, vec![other, entry(3, &[])]), Err(Lost::Place));
}

#[test]
fn a_garbled_text_is_unknown_and_never_legacy() {
    let core = following();
    let permit = cached(&core, "a", "r1 m=migrated");
    read(&core, 1, vec![entry(2, &[]), entry(3, &[("a", "garbage")])]).unwrap();
    assert!(core.admit_cached("a", at(1)).is_none());
    assert!(matches!(core.look("a", at(1)), Look::Ask(_)));
    assert_eq!(busy(&core, 1).1, ["a"]);
    drop(permit);
}

#[test]
fn a_forced_text_holds_against_a_higher_revision() {
    let core = following();
    drop(cached(&core, "a", "r9 m=migrated"));
    let older = entry(3, &[("a", "r2")]);
    read(&core, 1, vec![entry(2, &[]), older]).unwrap();
    assert_eq!(core.admit_cached("a", at(1)).unwrap().known().revision, 9, "not forced: it came late");
    let forced = entry(4, &[("a", "r2")]).map(|e| Entry { forced: true, ..e });
    read(&core, 1, vec![entry(3, &[]), forced]).unwrap();
    assert_eq!(core.admit_cached("a", at(1)).unwrap().known().revision, 2);
}

#[test]
fn without_membership_nobody_is_admitted_however_fresh_the_cache() {
    let core = following();
    drop(cached(&core, "a", "r1"));
    for n in 0..5 {
        read(&core, 10 + n, vec![entry(2 + n, &[]), entry(3 + n, &[])]).unwrap();
    }
    assert!(core.admit_cached("a", at(LEASE)).is_none());
    assert!(matches!(core.look("a", at(LEASE)), Look::Closed));
    core.member(at(LEASE));
    assert!(core.admit_cached("a", at(LEASE)).is_some());
    core.close();
    core.member(at(LEASE));
    assert!(matches!(core.look("a", at(LEASE)), Look::Closed));
}

#[test]
fn a_permit_that_was_asked_for_is_counted_from_the_question() {
    let core = following();
    let asking = ask(&core, "a", 0);
    let Answered::Admitted(permit) = core.answered(&asking, known("r0"), at(5)) else { panic!("legacy") };
    assert_eq!(permit.deadline(), at(REQUEST));
    let late = ask(&core, "b", 0);
    assert!(matches!(core.answered(&late, known("r0"), at(REQUEST)), Answered::Again));
}

#[test]
fn what_was_handed_on_is_served_during_the_pause_and_counted() {
    let core = following();
    drop(cached(&core, "a", "r1"));
    read(&core, 1, vec![entry(2, &[]), entry(3, &[("a", "r2 m=migrating")])]).unwrap();
    let inner = core.continued("a", known("r1"), at(3), at(1)).unwrap();
    assert_eq!(inner.deadline(), at(3), "no longer than the outer request's");
    assert_eq!(busy(&core, 1).1, ["a"]);
    drop(inner);
    assert_eq!(busy(&core, 1).1, Vec::<String>::new());
    assert!(core.continued("a", known("r1"), at(3), at(3)).is_none(), "its deadline has passed");
}

#[test]
fn a_request_given_up_after_it_handed_its_permit_on_is_in_flight_until_its_deadline() {
    let core = following();
    let permit = cached(&core, "a", "r1");
    core.linger(permit);
    read(&core, 1, vec![entry(2, &[]), entry(3, &[("a", "r2 m=migrating")])]).unwrap();
    assert_eq!(busy(&core, REQUEST - 1).1, ["a"]);
    assert_eq!(busy(&core, REQUEST).1, Vec::<String>::new());
}

#[test]
fn a_user_dropped_and_cached_again_is_drained_by_the_newer_count() {
    let core = following();
    let old = cached(&core, "a", "r1");
    read(&core, 1, vec![entry(2, &[]), entry(3, &[("a", "r2 m=migrating")])]).unwrap();
    drop(old);
    // Dropped from the cache before the acknowledgement was taken.
    core.forget_user("a");
    let permit = cached(&core, "a", "r3");
    read(&core, 1, vec![entry(3, &[]), entry(4, &[("a", "r4 m=migrating")])]).unwrap();
    assert_eq!(busy(&core, 1), (4, vec!["a".to_owned()]));
    drop(permit);
    assert_eq!(busy(&core, 1), (4, vec![]));
}

#[test]
fn an_answer_that_was_asked_for_before_a_break_neither_admits_nor_fills() {
    let core = following();
    let asking = ask(&core, "a", 1);
    read(&core, 1, vec![]).unwrap_err();
    core.positioned(place(2, 1, 9), at(1));
    assert!(matches!(core.answered(&asking, known("r0"), at(1)), Answered::Again));
}

#[test]
fn an_answer_that_outlasts_the_membership_admits_nobody() {
    let core = following();
    let asking = ask(&core, "a", 5);
    assert!(matches!(core.answered(&asking, known("r0"), at(LEASE)), Answered::Closed));
}

#[test]
fn a_counter_that_passed_to_another_user_is_not_waited_for_in_the_first_ones_name() {
    let core = following();
    let permit = cached(&core, "a", "r1");
    read(&core, 1, vec![entry(2, &[]), entry(3, &[("a", "r2 m=migrating")])]).unwrap();
    drop(permit);
    core.forget_user("a");
    let other = cached(&core, "b", "r1");
    assert_eq!(busy(&core, 1), (3, vec![]));
    drop(other);
}
