//! What a power cut may leave: of the changes that no barrier covered, any may be there and any may be missing, and a
//! write may be there in part.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::random::Random;
use super::tears::{Tear, Tearing, apply_torn, tears};
use super::tree::{Entry, Op, Tree, base_name};

/// So many uncovered changes are chosen from in every way; of more, a sample of the ways.
const EXHAUSTIVE_CHANGES: usize = 6;
const SAMPLED_WAYS: usize = 24;
/// Files that are never made durable and never believed: their changes are kept or lost together, by a coin.
pub(crate) const CASUAL_FILES: [&str; 2] = ["lock", "watermark"];

/// One way in which a power cut may turn out.
#[derive(Debug, Clone)]
pub(crate) struct Choice {
    /// Its number among those of the same crash point.
    pub(crate) number: u64,
    /// For each open change whether it is there.
    pub(crate) kept: Vec<bool>,
    /// The open write of which only a part is there.
    pub(crate) tear: Option<(usize, Tear)>,
    pub(crate) casual: bool,
}

impl Choice {
    /// Tells choices apart, in the same way each time.
    pub(crate) fn fingerprint(&self) -> u64 {
        let kept = self.kept.iter().fold(1, |bits, kept| bits * 2 + u64::from(*kept));
        let (index, tear) = self.tear.map_or((0, (0, 0)), |(index, tear)| {
            let parts = match tear {
                Tear::Until(end) => (1, end),
                Tear::From(start) => (2, start),
                Tear::LengthOnly => (3, 0),
                Tear::Garbage(end) => (4, end),
            };
            (index + 1, parts)
        });
        Random::of(&[kept, index as u64, tear.0, tear.1 as u64]).next()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// No barrier has covered it.
    Open,
    /// A barrier failed: it may be there or not, and later barriers take it for written.
    Doubtful,
    /// It is durable, but stands behind a doubtful one.
    Durable,
    Casual,
}

/// A disk as barriers have left it, step by step.
#[derive(Debug, Clone)]
pub(crate) struct Replay {
    durable: Tree,
    pending: Vec<(Op, Fate)>,
    casual_files: BTreeSet<usize>,
}

impl Replay {
    pub(crate) fn of(base: Tree) -> Self {
        let casual = base.entries.iter().filter(|(path, _)| CASUAL_FILES.contains(&base_name(path)));
        let numbers = casual.filter_map(|(_, entry)| match entry {
            Entry::File(file) => Some(*file),
            Entry::Folder => None,
        });
        let casual_files = numbers.collect();
        Self { durable: base, pending: Vec::new(), casual_files }
    }

    /// Goes on by one operation.
    pub(crate) fn step(&mut self, op: &Op) {
        match op {
            Op::SyncFile { file } => self.settle(|op| op.changed_file() == Some(*file), Fate::Durable),
            Op::FailedSync { file } => self.settle(|op| op.changed_file() == Some(*file), Fate::Doubtful),
            Op::SyncFolder { path } => self.settle(|op| op.changed_folder() == Some(path), Fate::Durable),
            Op::CreateFile { path, file } if CASUAL_FILES.contains(&base_name(path)) => {
                self.casual_files.insert(*file);
                self.pending.push((op.clone(), Fate::Casual));
            }
            change => {
                let casual = change.changed_file().is_some_and(|file| self.casual_files.contains(&file));
                self.pending.push((change.clone(), if casual { Fate::Casual } else { Fate::Open }));
            }
        }
    }

    fn settle(&mut self, concerned: impl Fn(&Op) -> bool, fate: Fate) {
        for (op, current) in &mut self.pending {
            if matches!(current, Fate::Open | Fate::Casual) && concerned(op) {
                *current = fate;
            }
        }
        // What is durable becomes part of the disk, unless something doubtful was to be written before it.
        let mut doubtful = BTreeSet::new();
        let mut rest = Vec::new();
        for (op, fate) in std::mem::take(&mut self.pending) {
            match (op.changed_file(), fate) {
                (Some(file), Fate::Durable) if !doubtful.contains(&file) => self.durable.apply(&op),
                (None, Fate::Durable) => self.durable.apply(&op),
                (file, fate) => {
                    doubtful.extend(file);
                    rest.push((op, fate));
                }
            }
        }
        self.pending = rest;
    }

    fn open_changes(&self) -> Vec<&Op> {
        let open = self.pending.iter().filter(|(_, fate)| matches!(fate, Fate::Open | Fate::Doubtful));
        open.map(|(op, _)| op).collect()
    }

    /// Whether the last operation was one that may be lost, so that there are more ways than before it.
    pub(crate) fn is_newest_open(&self) -> bool {
        self.pending.last().is_some_and(|(_, fate)| *fate == Fate::Open)
    }

    /// Hands over every way that is to be tried, in an order that depends on nothing but `random`. With `newest_only`,
    /// only ways in which the last change is there: the others were ways before it.
    pub(crate) fn for_each_choice(
        &self,
        newest_only: bool,
        tearing: Tearing,
        random: &mut Random,
        mut visit: impl FnMut(Choice),
    ) {
        let open = self.open_changes();
        let mut number = 0;
        let mut hand_over = |kept: &[bool], tear| {
            visit(Choice { number, kept: kept.to_vec(), tear, casual: number % 2 == 0 });
            number += 1;
        };
        for kept in subsets(open.len(), random) {
            if newest_only && kept.last() == Some(&false) {
                continue;
            }
            hand_over(&kept, None);
            let count = kept.iter().filter(|kept| **kept).count();
            let all_or_alone = count == open.len() || count == 1;
            let chosen: Vec<usize> = (0..open.len()).filter(|index| kept[*index]).collect();
            // In the fullest subset each write is torn, else the last.
            let torn =
                if count == open.len() { chosen.as_slice() } else { chosen.split_at(count.max(1) - 1).1 };
            for index in torn {
                let tearing = if all_or_alone { tearing } else { Tearing::Sampled };
                for tear in tears(open[*index], tearing, random) {
                    hand_over(&kept, Some((*index, tear)));
                }
            }
        }
    }

    /// Nothing that may be lost is there, all of it is, and some of it is.
    pub(crate) fn few_choices(&self, random: &mut Random) -> Vec<Choice> {
        let count = self.open_changes().len();
        let mut ways = vec![vec![false; count]];
        if count > 0 {
            ways.push(vec![true; count]);
            ways.push((0..count).map(|_| random.below(2) == 0).collect());
        }
        let choice =
            |(kept, number): (Vec<bool>, u64)| Choice { number, kept, tear: None, casual: number % 2 == 0 };
        ways.into_iter().zip(0..).map(choice).collect()
    }

    /// The disk as one choice leaves it.
    pub(crate) fn image(&self, choice: &Choice) -> Tree {
        let mut tree = self.durable.clone();
        let mut index = 0;
        for (op, fate) in &self.pending {
            let kept = match fate {
                Fate::Durable => true,
                Fate::Casual => choice.casual,
                Fate::Open | Fate::Doubtful => {
                    index += 1;
                    choice.kept.get(index - 1).copied().unwrap_or(false)
                }
            };
            let tear = choice
                .tear
                .filter(|(torn, _)| matches!(fate, Fate::Open | Fate::Doubtful) && *torn == index - 1);
            match (tear, op) {
                (Some((_, tear)), Op::Write { file, offset, bytes }) => {
                    apply_torn(&mut tree, *file, *offset, bytes, tear);
                }
                _ if kept => tree.apply(op),
                _ => {}
            }
        }
        tree.reachable()
    }

    /// What a choice means, for people.
    pub(crate) fn describe(&self, choice: &Choice) -> String {
        let open = self.open_changes();
        let lines = open.iter().zip(&choice.kept).enumerate().map(|(index, (op, kept))| {
            let tear =
                choice.tear.filter(|(torn, _)| *torn == index).map(|(_, tear)| format!(", torn: {tear:?}"));
            format!("{} ({}{})", op.label(), if *kept { "kept" } else { "lost" }, tear.unwrap_or_default())
        });
        lines.collect::<Vec<_>>().join("; ")
    }
}

/// Which of `count` changes are there: every way for few, a selection for many.
fn subsets(count: usize, random: &mut Random) -> Vec<Vec<bool>> {
    if count <= EXHAUSTIVE_CHANGES {
        return (0..1_u32 << count).map(|bits| (0..count).map(|i| bits >> i & 1 == 1).collect()).collect();
    }
    let mut ways: Vec<Vec<bool>> = vec![vec![false; count], vec![true; count]];
    for one in 0..count {
        ways.push((0..count).map(|i| i == one).collect());
        ways.push((0..count).map(|i| i != one).collect());
        ways.push((0..count).map(|i| i < one).collect());
        ways.push((0..count).map(|i| i >= one).collect());
    }
    ways.extend((0..SAMPLED_WAYS).map(|_| (0..count).map(|_| random.below(2) == 0).collect()));
    ways.sort_unstable();
    ways.dedup();
    ways
}

#[test]
fn a_power_cut_takes_what_no_barrier_covered_and_nothing_else() {
    let path: Arc<str> = "/file".into();
    let contents = |replay: &Replay| {
        let mut found = BTreeSet::new();
        replay.for_each_choice(false, Tearing::Everywhere, &mut Random::of(&[1]), |choice| {
            found.insert(replay.image(&choice).file_at("/file").map(<[u8]>::to_vec));
        });
        found
    };
    let mut replay = Replay::of(Tree::default());
    replay.step(&Op::CreateFile { path: Arc::clone(&path), file: 0 });
    replay.step(&Op::Write { file: 0, offset: 0, bytes: (*b"ab").into() });
    let before = contents(&replay);
    for possible in [None, Some(&b""[..]), Some(b"a"), Some(b"\0\0"), Some(b"\0b"), Some(b"ab")] {
        assert!(before.contains(&possible.map(<[u8]>::to_vec)), "{possible:?}");
    }
    replay.step(&Op::SyncFile { file: 0 });
    // A barrier on a file is none on its folder.
    assert_eq!(contents(&replay), BTreeSet::from([None, Some(b"ab".to_vec())]));
    replay.step(&Op::SyncFolder { path: "".into() });
    assert_eq!(contents(&replay), BTreeSet::from([Some(b"ab".to_vec())]));
    replay.step(&Op::Write { file: 0, offset: 0, bytes: (*b"cd").into() });
    replay.step(&Op::FailedSync { file: 0 });
    replay.step(&Op::SyncFile { file: 0 });
    assert!(contents(&replay).contains(&Some(b"ab".to_vec())), "a barrier after a failed one proves nothing");
}
