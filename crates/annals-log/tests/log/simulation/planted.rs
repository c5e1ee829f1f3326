//! The tests of crashes, errors and damage would notice if the log were wrong: each planted bug is found by the one that
//! it is meant for.

use annals_log::Planted;

use super::crashes::{self, Plan};
use super::engine::Setup;
use super::errors;
use super::random::seed;
use super::tree::base_name;
use super::workload::{Action, Base, Workload};
use crate::damage::everywhere::{self, Subject};
use crate::damage::harms::Harm;

/// The test that notices a bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NoticedBy {
    /// `simulation::crashes::no_crash_loses_or_makes_up_an_event`
    Crashes,
    /// `simulation::errors::every_failing_call_is_survived`
    Errors,
    /// `damage::everywhere::all_damage_is_noticed_or_harmless`
    Damage,
    /// `damage::everywhere::damage_while_open_is_noticed`
    DamageWhileOpen,
}

const BUGS: [(Planted, NoticedBy); 29] = [
    (Planted::AcknowledgeBeforeBarrier, NoticedBy::Crashes),
    (Planted::RetryFailedBarrier, NoticedBy::Errors),
    (Planted::ForgetFailedBarrier, NoticedBy::Errors),
    (Planted::BelieveShortWrite, NoticedBy::Errors),
    (Planted::KeepTornFrame, NoticedBy::Errors),
    (Planted::SkipSegmentFolderSync, NoticedBy::Crashes),
    (Planted::SkipFormatBarrier, NoticedBy::Crashes),
    (Planted::ShowBeforeBarrier, NoticedBy::Errors),
    (Planted::KeepUnwrittenInIndex, NoticedBy::Errors),
    (Planted::MarkAheadOfLog, NoticedBy::Crashes),
    (Planted::TrustFrameHeader, NoticedBy::Crashes),
    (Planted::KeepPartOfBatch, NoticedBy::Crashes),
    (Planted::IgnoreChain, NoticedBy::Damage),
    (Planted::IgnoreMark, NoticedBy::Damage),
    (Planted::BelieveFormatFile, NoticedBy::Damage),
    (Planted::CutDamage, NoticedBy::Damage),
    (Planted::SkipQuarantine, NoticedBy::Crashes),
    (Planted::KeepTail, NoticedBy::Crashes),
    (Planted::SkipRecoverySync, NoticedBy::Crashes),
    (Planted::SkipRecoveryRewrite, NoticedBy::Errors),
    (Planted::SkipRecoveryFolderSync, NoticedBy::Crashes),
    (Planted::ForgetCheckpoints, NoticedBy::Crashes),
    (Planted::ReadUnchecked, NoticedBy::DamageWhileOpen),
    (Planted::IndexAheadOfLog, NoticedBy::Crashes),
    (Planted::TrustStaleIndex, NoticedBy::Crashes),
    (Planted::ReadIndexUnchecked, NoticedBy::Damage),
    (Planted::ForgetOldIds, NoticedBy::Crashes),
    (Planted::CompactBeforeBarrier, NoticedBy::Crashes),
    (Planted::CompactVisible, NoticedBy::Crashes),
];

/// A selection of what the named test tries; the first violation, if there is one.
fn first_violation(noticed_by: NoticedBy, planted: Option<Planted>) -> Option<String> {
    match noticed_by {
        NoticedBy::Crashes => crashes::run(&short_plan(planted)).violations().into_iter().next(),
        NoticedBy::Errors => errors::run(&short_workloads(), planted, true).violations.into_iter().next(),
        NoticedBy::Damage => Subject::all().iter().find_map(|subject| {
            let harms = subject.harms(|path| base_name(path) != "mark").into_iter().enumerate();
            let some = harms.filter(|(number, harm)| number % 7 == 0 || harm.is_of_whole_file());
            // What is done to whole files is quick to try, and noticed most easily.
            let (whole, parts): (Vec<_>, Vec<_>) =
                some.map(|(_, harm)| harm).partition(Harm::is_of_whole_file);
            let harms = [whole, parts].concat();
            let found = everywhere::run(subject, &harms, planted, true, everywhere::Found::default());
            found.violations.into_iter().next()
        }),
        NoticedBy::DamageWhileOpen => everywhere::damage_while_open(planted).err(),
    }
}

fn short_plan(planted: Option<Planted>) -> Plan {
    Plan {
        seed: seed(),
        planted,
        workloads: short_workloads(),
        again_after_one_in: 64,
        kill_at_one_in: 1,
        thorough_for_one_in: 1,
        until_first: true,
        kills_only: false,
    }
}

fn short_workloads() -> Vec<Workload> {
    use Action::{AppendMany, AppendOne, Checkpoint, Compact, DeleteIndex, Roll, Seal, Truncate};
    let written: [&[Action]; 6] = [
        &[AppendMany],
        &[Checkpoint],
        &[Roll, AppendOne],
        &[Truncate, Seal, Compact],
        &[AppendOne, DeleteIndex],
        &[Roll, Truncate, Compact],
    ];
    let written = written.iter().map(|actions| (Base::Written, actions.to_vec()));
    let all = written.chain([(Base::Nothing, vec![AppendMany])]);
    let workload = |(number, (base, actions))| Workload { base, actions, setup: Setup::nth(number) };
    (1..).zip(all).map(workload).collect()
}

#[test]
fn every_planted_bug_is_caught() {
    let begun = std::time::Instant::now();
    for noticed_by in [NoticedBy::Crashes, NoticedBy::Errors, NoticedBy::Damage, NoticedBy::DamageWhileOpen] {
        assert_eq!(first_violation(noticed_by, None), None, "without a planted bug, {noticed_by:?}");
    }
    let mut missed = Vec::new();
    let mut caught = Vec::new();
    for (bug, noticed_by) in BUGS {
        match first_violation(noticed_by, Some(bug)) {
            Some(violation) => {
                println!("{bug:?}, noticed by the test of {noticed_by:?}: {violation}");
                caught.push(format!("\"{bug:?}\":\"{noticed_by:?}\""));
            }
            None => missed.push(bug),
        }
    }
    println!(
        "evidence: {{\"test\":\"planted bugs\",\"planted\":{},\"caught\":{},\"caught_by\":{{{}}},\"seed\":{},\
         \"seconds\":{}}}",
        BUGS.len(),
        caught.len(),
        caught.join(","),
        seed(),
        begun.elapsed().as_secs(),
    );
    assert_eq!(missed, [], "not noticed");
}
