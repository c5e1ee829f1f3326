//! Tests of decisions fail when they should, and say what differs.

use annals_app::{
    Command, Context, Decision, DomainError, Event, NameError, Principal, Scope, Tag, given_decision,
};
use annals_core::{Timestamp, Version};
use serde::{Deserialize, Serialize};

use super::failure;
use crate::decisions::{CourseEvent, CreateInvoice, InvoiceCreated, NextInvoice, Subscription, subscribe};

fn defined(course: &str, places: usize) -> CourseEvent {
    CourseEvent::CourseDefined { course: course.to_owned(), places }
}

fn subscribed(course: &str, student: &str) -> CourseEvent {
    CourseEvent::StudentSubscribed { course: course.to_owned(), student: student.to_owned() }
}

#[test]
fn a_decision_knows_the_events_of_its_scope_wherever_they_lie() {
    let ann_in = |courses: u8| {
        let names: Vec<_> = (1..=courses).map(|n| format!("course-c{n}")).collect();
        let names: Vec<_> =
            names.iter().map(|stream| (stream.as_str(), subscribed(&stream[7..], "ann"))).collect();
        given_decision::<Subscription>([("course-c9", defined("c9", 1))]).events(names)
    };
    let after = ann_in(4).when("c9", subscribe("ann")).then([subscribed("c9", "ann")]);
    assert_eq!(after.students, ["ann"]);
    let refused = ann_in(5).when("c9", subscribe("ann")).then_refused("too-many-courses");
    assert_eq!(refused.to_string(), "ann is in five courses already");
    // Her course is full for others; she herself is in it already.
    let full = || {
        given_decision::<Subscription>([("course-c1", defined("c1", 1)), ("else-7", subscribed("c1", "ann"))])
    };
    full().when("c1", subscribe("bob")).then_refused("course-full");
    full().when("c1", subscribe("ann")).then_nothing();
    given_decision::<NextInvoice>((1..=4).map(|number| ("invoice-old", InvoiceCreated { number })))
        .when("new", CreateInvoice {})
        .then([InvoiceCreated { number: 5 }]);
}

/// What is stored when a tag was forgotten: of the same names, but found by nobody who asks by course.
#[derive(Event, Serialize, Deserialize)]
#[event(unlocked)]
#[annals(crate = annals_app)]
enum Untagged {
    CourseDefined { course: String, places: usize },
}

#[test]
fn an_event_without_its_tag_is_not_in_the_scope() {
    let untagged = || [("course-c1", Untagged::CourseDefined { course: "c1".to_owned(), places: 3 })];
    let without = given_decision::<Subscription>([]).events(untagged());
    without.when("c1", subscribe("ann")).then_refused("no-such-course");
    let said = failure(|| {
        let without = given_decision::<Subscription>([]).events(untagged());
        without.when("c1", subscribe("ann")).then([subscribed("c1", "ann")]);
    });
    assert!(
        said.unwrap()
            .starts_with("the command was refused with code \"no-such-course\": there is no course c1\n")
    );
}

#[test]
fn other_events_of_a_decision_are_shown_line_by_line() {
    let said = failure(|| {
        let given = given_decision::<Subscription>([("course-c1", defined("c1", 3))]);
        given.when("c1", subscribe("ann")).then([subscribed("c1", "bob")]);
    });
    let expected = r#"other events follow than expected: event 1 differs (expected 1, found 1):
- expected
+ found
  [
      StudentSubscribed {
          course: "c1",
-         student: "bob",
+         student: "ann",
      },
  ]"#;
    assert_eq!(said.as_deref(), Some(expected));
    let said = failure(|| {
        given_decision::<Subscription>([]).when("c1", subscribe("a\u{7}")).then_nothing();
    });
    let said = said.unwrap();
    assert!(
        said.starts_with("SubscribeStudent to course \"c1\" cannot be decided: a name does not fit"),
        "{said}"
    );
}

/// Says who may, and when it was.
#[derive(Clone)]
struct Signature;

#[derive(Event, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[event(unlocked)]
#[annals(crate = annals_app)]
struct Signed {
    by: String,
    at: Timestamp,
    known: Version,
}

#[derive(Command, Serialize, Deserialize)]
#[annals(crate = annals_app)]
struct Sign {}

#[derive(Debug, thiserror::Error, DomainError)]
#[annals(crate = annals_app)]
enum Never {}

impl Decision for Signature {
    const CATEGORY: &'static str = "signature";
    type Command = Sign;
    type Event = Signed;
    type Error = Never;

    fn begin(_: &str, _: &Sign) -> Self {
        Self
    }

    fn scope(&self) -> Result<Scope, NameError> {
        Ok(Scope::tagged([Tag::new("signed:here")?]))
    }

    fn apply(&mut self, _: &Signed) {}

    fn handle(&self, _: &Sign, context: &Context) -> Result<Vec<Signed>, Never> {
        assert_ne!(context.id, "broken", "nobody can sign this");
        let (by, at) = (context.principal.name.clone(), context.occurred_at);
        Ok(vec![Signed { by: by.into_owned(), at, known: context.version }])
    }
}

#[test]
fn moment_and_principal_are_those_of_the_test() {
    let signed = |by: &str, at: i64| Signed {
        by: by.to_owned(),
        at: Timestamp::from_micros(at),
        known: Version::ZERO,
    };
    given_decision::<Signature>([]).when("1", Sign {}).then([signed("anonymous", 0)]);
    let by_ann = given_decision::<Signature>([]).at(Timestamp::from_micros(7)).by(Principal::named("ann"));
    by_ann.when("1", Sign {}).then([signed("ann", 7)]);
    let said = failure(|| {
        given_decision::<Signature>([]).when("broken", Sign {}).then_nothing();
    });
    let said = said.unwrap();
    assert!(said.contains("Sign panicked: ") && said.contains("nobody can sign this"), "{said}");
}
