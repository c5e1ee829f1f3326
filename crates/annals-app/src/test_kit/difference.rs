//! What differs between what was expected and what was found, line by line: what all failure messages are made of.

use std::fmt::Debug;

/// So many lines around a difference are shown; the others are counted.
const CONTEXT: usize = 3;
/// Longer texts are not laid beside each other line by line: this many pairs of lines would have to be compared.
const MOST_PAIRS: usize = 4_000_000;

/// Says which of the items differs first, and shows the lines that do; `None` when the two are the same.
pub(super) fn difference_of_items<T: Debug + PartialEq>(
    what: &str,
    expected: &[T],
    found: &[T],
) -> Option<String> {
    let same = expected.iter().zip(found).take_while(|(expected, found)| expected == found).count();
    if same == expected.len() && same == found.len() {
        return None;
    }
    let first = same + 1;
    let told = match (expected.get(same), found.get(same)) {
        (Some(_), None) => format!("{what} {first} is missing"),
        (None, Some(_)) => format!("{what} {first} was not expected"),
        _ => format!("{what} {first} differs"),
    };
    let counts = format!("expected {}, found {}", expected.len(), found.len());
    Some(format!("{told} ({counts}):\n{}", difference_of_values(&expected, &found)))
}

/// Shows the lines in which two values differ, as they are printed with `{:#?}`.
pub(super) fn difference_of_values(expected: &impl Debug, found: &impl Debug) -> String {
    difference_of_lines(&format!("{expected:#?}"), &format!("{found:#?}"))
}

/// A line of one text, of the other, or of both.
#[derive(Clone, Copy, PartialEq)]
enum Line<'a> {
    Same(&'a str),
    Expected(&'a str),
    Found(&'a str),
}

fn difference_of_lines(expected: &str, found: &str) -> String {
    let lines = side_by_side(&expected.lines().collect::<Vec<_>>(), &found.lines().collect::<Vec<_>>());
    let mut text = "- expected\n+ found\n".to_owned();
    if lines.iter().all(|line| matches!(line, Line::Same(_))) {
        text.push_str("  (both are printed the same)\n");
    }
    let differs = |index: &usize| !matches!(lines[*index], Line::Same(_));
    let is_near = |index: usize| {
        (index.saturating_sub(CONTEXT)..lines.len().min(index + CONTEXT + 1)).any(|near| differs(&near))
    };
    let mut left_out = 0;
    for (index, line) in lines.iter().enumerate() {
        if !is_near(index) {
            left_out += 1;
            continue;
        }
        say_left_out(&mut text, std::mem::take(&mut left_out));
        let (mark, line) = match line {
            Line::Same(line) => (' ', line),
            Line::Expected(line) => ('-', line),
            Line::Found(line) => ('+', line),
        };
        text.push_str(format!("{mark} {line}").trim_end());
        text.push('\n');
    }
    say_left_out(&mut text, left_out);
    text.truncate(text.trim_end().len());
    text
}

fn say_left_out(text: &mut String, lines: usize) {
    match lines {
        0 => {}
        1 => text.push_str("  … 1 line is the same\n"),
        lines => text.push_str(&format!("  … {lines} lines are the same\n")),
    }
}

/// Lays two texts beside each other, so that as many lines as possible are the same.
fn side_by_side<'a>(expected: &[&'a str], found: &[&'a str]) -> Vec<Line<'a>> {
    let pairs = expected.iter().zip(found);
    let before = pairs.take_while(|(expected, found)| expected == found).count();
    let (head, expected) = expected.split_at(before);
    let found = &found[before..];
    let pairs = expected.iter().rev().zip(found.iter().rev());
    let after = pairs.take_while(|(expected, found)| expected == found).count();
    let (expected, tail) = expected.split_at(expected.len() - after);
    let found = &found[..found.len() - after];
    let same = |lines: &[&'a str]| lines.iter().map(|line| Line::Same(line)).collect::<Vec<_>>();
    [same(head), longest_common(expected, found), same(tail)].concat()
}

fn longest_common<'a>(expected: &[&'a str], found: &[&'a str]) -> Vec<Line<'a>> {
    let width = found.len() + 1;
    // How many lines are the same from a pair of lines on; nothing when the texts are too long to look.
    let mut common = vec![0_u32; (expected.len() + 1) * width];
    if expected.len().saturating_mul(found.len()) <= MOST_PAIRS {
        for left in (0..expected.len()).rev() {
            for right in (0..found.len()).rev() {
                common[left * width + right] = match expected[left] == found[right] {
                    true => common[(left + 1) * width + right + 1] + 1,
                    false => common[(left + 1) * width + right].max(common[left * width + right + 1]),
                };
            }
        }
    }
    let (mut left, mut right) = (0, 0);
    let mut lines = Vec::with_capacity(expected.len() + found.len());
    while left < expected.len() || right < found.len() {
        let here = common[left * width + right];
        if left < expected.len() && right < found.len() && expected[left] == found[right] && here > 0 {
            lines.push(Line::Same(expected[left]));
            (left, right) = (left + 1, right + 1);
        } else if left < expected.len() && common[(left + 1) * width + right] == here {
            lines.push(Line::Expected(expected[left]));
            left += 1;
        } else {
            lines.push(Line::Found(found[right]));
            right += 1;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left of both texts when a difference is read with one eye only.
    fn sides(lines: &[Line<'_>]) -> (Vec<String>, Vec<String>) {
        let mut sides = (Vec::new(), Vec::new());
        for line in lines {
            match *line {
                Line::Same(line) => {
                    sides.0.push(line.to_owned());
                    sides.1.push(line.to_owned());
                }
                Line::Expected(line) => sides.0.push(line.to_owned()),
                Line::Found(line) => sides.1.push(line.to_owned()),
            }
        }
        sides
    }

    #[test]
    fn a_difference_tells_both_texts() {
        let texts = ["", "a", "a b c d", "a c d", "a x c d y", "d c b a", "b b b", "a b a b a"];
        for expected in texts {
            for found in texts {
                let (expected, found): (Vec<_>, Vec<_>) =
                    (expected.split_whitespace().collect(), found.split_whitespace().collect());
                let lines = side_by_side(&expected, &found);
                assert_eq!(
                    sides(&lines),
                    (
                        expected.iter().map(ToString::to_string).collect(),
                        found.iter().map(ToString::to_string).collect()
                    )
                );
            }
        }
        let lines = side_by_side(&["a", "b", "c", "d"], &["a", "x", "c", "d", "y"]);
        let same = lines.iter().filter(|line| matches!(line, Line::Same(_))).count();
        assert_eq!((same, lines.len()), (3, 6));
    }

    #[test]
    fn what_is_the_same_far_from_a_difference_is_counted() {
        let numbers = |missing: usize| -> Vec<usize> { (1..=20).filter(|n| *n != missing).collect() };
        let text = difference_of_items("item", &numbers(0), &numbers(10)).unwrap();
        let expected = "item 10 differs (expected 20, found 19):\n- expected\n+ found\n  … 7 lines are the same\n      \
                        7,\n      8,\n      9,\n-     10,\n      11,\n      12,\n      13,\n  … 8 lines are the same";
        assert_eq!(text, expected);
        assert_eq!(difference_of_items("item", &numbers(3), &numbers(3)), None);
    }

    #[test]
    fn very_long_texts_are_shown_one_after_the_other() {
        let (expected, found) = ("a\n".repeat(3_000), "b\n".repeat(3_000));
        let text = difference_of_lines(&expected, &found);
        assert_eq!(text.lines().filter(|line| *line == "- a").count(), 3_000);
        assert_eq!(text.lines().filter(|line| *line == "+ b").count(), 3_000);
    }
}
