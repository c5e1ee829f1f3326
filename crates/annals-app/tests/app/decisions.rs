//! Rules across entities: the examples of dcb.events, several callers at once, commands that come again.

use std::sync::Arc;

use annals_app::{
    App, Command, CommandOptions, CommandRequest, Context, Decision, DomainError, Error, Event, Rejection,
    RunningApp, Scope, StartError,
};
use annals_core::{
    EventStore, EventType, Filter, FilterItem, NameError, ReadRequest, StreamName, Tag, Version,
};
use annals_sqlite::SqliteReadModels;
use serde::{Deserialize, Serialize};

use crate::stores::stores;

#[derive(Event, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[event(unlocked)]
#[annals(crate = annals_app)]
pub(crate) enum CourseEvent {
    CourseDefined {
        #[event(tag = "course")]
        course: String,
        places: usize,
    },
    StudentSubscribed {
        #[event(tag = "course")]
        course: String,
        #[event(tag = "student")]
        student: String,
    },
}

#[derive(Command, Serialize, Deserialize, Debug, Clone)]
#[annals(crate = annals_app)]
pub(crate) enum CourseCommand {
    DefineCourse { places: usize },
    SubscribeStudent { student: String },
}

#[derive(Debug, thiserror::Error, DomainError, PartialEq)]
#[annals(crate = annals_app)]
pub(crate) enum CourseError {
    #[error("there is no course {0}")]
    NoSuchCourse(String),
    #[error("the course is full")]
    CourseFull,
    #[error("{0} is in five courses already")]
    TooManyCourses(String),
    #[error("the course is defined already")]
    DefinedBefore,
}

/// A course takes so many students, and a student so many courses: no single entity knows both.
#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    course: String,
    student: Option<String>,
    places: Option<usize>,
    pub(crate) students: Vec<String>,
    courses: usize,
}

impl Decision for Subscription {
    const CATEGORY: &'static str = "course";
    type Command = CourseCommand;
    type Event = CourseEvent;
    type Error = CourseError;

    fn begin(id: &str, command: &CourseCommand) -> Self {
        let student = match command {
            CourseCommand::SubscribeStudent { student } => Some(student.clone()),
            CourseCommand::DefineCourse { .. } => None,
        };
        Self { course: id.to_owned(), student, places: None, students: Vec::new(), courses: 0 }
    }

    fn scope(&self) -> Result<Scope, NameError> {
        let course = Scope::tagged([Tag::new(format!("course:{}", self.course))?]);
        Ok(match &self.student {
            Some(student) => course.and(Scope::tagged([Tag::new(format!("student:{student}"))?])),
            None => course,
        })
    }

    fn apply(&mut self, event: &CourseEvent) {
        match event {
            CourseEvent::CourseDefined { places, .. } => self.places = Some(*places),
            CourseEvent::StudentSubscribed { course, student } => {
                self.courses += usize::from(self.student.as_ref() == Some(student));
                if *course == self.course {
                    self.students.push(student.clone());
                }
            }
        }
    }

    fn handle(&self, command: &CourseCommand, context: &Context) -> Result<Vec<CourseEvent>, CourseError> {
        let course = context.id.clone();
        match (command, self.places) {
            (CourseCommand::DefineCourse { .. }, Some(_)) => Err(CourseError::DefinedBefore),
            (CourseCommand::DefineCourse { places }, None) => {
                Ok(vec![CourseEvent::CourseDefined { course, places: *places }])
            }
            (_, None) => Err(CourseError::NoSuchCourse(course)),
            (CourseCommand::SubscribeStudent { student }, _) if self.students.contains(student) => Ok(vec![]),
            (_, Some(places)) if self.students.len() >= places => Err(CourseError::CourseFull),
            (CourseCommand::SubscribeStudent { student }, _) if self.courses >= 5 => {
                Err(CourseError::TooManyCourses(student.clone()))
            }
            (CourseCommand::SubscribeStudent { student }, _) => {
                Ok(vec![CourseEvent::StudentSubscribed { course, student: student.clone() }])
            }
        }
    }
}

#[derive(Event, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[event(unlocked)]
#[annals(crate = annals_app)]
pub(crate) struct InvoiceCreated {
    pub(crate) number: u64,
}

#[derive(Command, Serialize, Deserialize, Debug, Clone)]
#[annals(crate = annals_app)]
pub(crate) struct CreateInvoice {}

#[derive(Debug, thiserror::Error, DomainError)]
#[annals(crate = annals_app)]
pub(crate) enum NoReason {}

/// Invoices are numbered without gaps: only the last one needs to be known.
#[derive(Clone)]
pub(crate) struct NextInvoice {
    last: u64,
    taken: u64,
}

impl Decision for NextInvoice {
    const CATEGORY: &'static str = "invoice";
    type Command = CreateInvoice;
    type Event = InvoiceCreated;
    type Error = NoReason;

    fn begin(_: &str, _: &CreateInvoice) -> Self {
        Self { last: 0, taken: 0 }
    }

    fn scope(&self) -> Result<Scope, NameError> {
        Ok(Scope::last(FilterItem::default().event_type(EventType::new("InvoiceCreated")?)))
    }

    fn apply(&mut self, event: &InvoiceCreated) {
        self.last = event.number;
        self.taken += 1;
    }

    fn handle(&self, _: &CreateInvoice, context: &Context) -> Result<Vec<InvoiceCreated>, NoReason> {
        assert!(context.version <= Version::new(1), "of all invoices only the last one is read");
        Ok(vec![InvoiceCreated { number: self.last + 1 }])
    }
}

async fn start_on(store: &Arc<dyn EventStore>) -> RunningApp {
    let app = App::new("school").decision::<Subscription>().decision::<NextInvoice>();
    let models = Arc::new(SqliteReadModels::temporary().unwrap());
    app.start(Arc::clone(store), models).await.unwrap()
}

pub(crate) fn subscribe(student: &str) -> CourseCommand {
    CourseCommand::SubscribeStudent { student: student.to_owned() }
}

fn with_id(id: &str) -> CommandOptions {
    CommandOptions { command_id: Some(id.parse().unwrap()), ..CommandOptions::default() }
}

#[tokio::test]
async fn a_course_and_a_student_have_each_their_limit() {
    for on in stores() {
        let store = Arc::clone(&on.events);
        let app = start_on(&store).await;
        let refused = app.decide::<Subscription>("c1", subscribe("ann")).await.unwrap_err();
        assert!(matches!(refused, Error::Domain(CourseError::NoSuchCourse(_))), "{refused:?}");
        for course in ["c1", "c2", "c3", "c4", "c5", "c6"] {
            let define = CourseCommand::DefineCourse { places: 2 };
            app.decide::<Subscription>(course, define).await.unwrap();
        }
        for course in ["c1", "c2", "c3", "c4", "c5"] {
            let done = app.decide::<Subscription>(course, subscribe("ann")).await.unwrap();
            assert_eq!((done.version, done.state.students.len()), (Version::new(2), 1));
            assert_eq!(done.stream, StreamName::new(format!("course-{course}")).unwrap());
        }
        let refused = app.decide::<Subscription>("c6", subscribe("ann")).await.unwrap_err();
        assert_eq!(refused.to_string(), "ann is in five courses already");
        let nothing = app.decide::<Subscription>("c1", subscribe("ann")).await.unwrap();
        assert_eq!((nothing.events.len(), nothing.version), (0, Version::new(2)));
        app.decide::<Subscription>("c1", subscribe("bob")).await.unwrap();
        let refused = app.decide::<Subscription>("c1", subscribe("eve")).await.unwrap_err();
        assert!(matches!(refused, Error::Domain(CourseError::CourseFull)), "{refused:?}");
        let options = CommandOptions { expected_version: Some(Version::new(2)), ..CommandOptions::default() };
        let outdated = app.decide_with::<Subscription>("c1", subscribe("bob"), options).await.unwrap_err();
        assert!(matches!(outdated, Error::VersionMismatch { .. }), "{outdated:?}");
        let malformed = app.decide::<Subscription>("c1", subscribe("a\u{7}")).await.unwrap_err();
        assert!(matches!(malformed, Error::Malformed { .. }), "{malformed:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_place_is_given_twice_however_many_ask_at_once() {
    for on in stores() {
        let store = Arc::clone(&on.events);
        // As two services on one store: the turns of one do not hold the other up.
        let apps = [start_on(&store).await, start_on(&store).await];
        for course in ["c0", "c1"] {
            let define = CourseCommand::DefineCourse { places: 10 };
            apps[0].decide::<Subscription>(course, define).await.unwrap();
        }
        let tasks: Vec<_> = (0..64)
            .map(|n| {
                let app = apps[n % 2].clone();
                tokio::spawn(async move {
                    loop {
                        let course = format!("c{}", n / 32);
                        match app.decide::<Subscription>(&course, subscribe(&format!("s{n}"))).await {
                            Ok(_) => return true,
                            Err(Error::Domain(CourseError::CourseFull)) => return false,
                            Err(Error::Conflict { .. }) => {}
                            Err(other) => panic!("{other}"),
                        }
                    }
                })
            })
            .collect();
        let mut given = 0;
        for task in tasks {
            given += usize::from(task.await.unwrap());
        }
        assert_eq!(given, 20);
        let of_type = Filter::types([EventType::new("StudentSubscribed").unwrap()]);
        assert_eq!(store.reader(ReadRequest::new(of_type)).collect().await.unwrap().len(), 20);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invoices_are_numbered_without_gaps() {
    for on in stores() {
        let store = Arc::clone(&on.events);
        let app = start_on(&store).await;
        let tasks: Vec<_> = (0..50)
            .map(|n| {
                let app = app.clone();
                tokio::spawn(async move {
                    app.decide::<NextInvoice>(&format!("{n}"), CreateInvoice {}).await.unwrap();
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let events = store.reader(ReadRequest::default()).collect().await.unwrap();
        let numbers: Vec<u64> = events
            .iter()
            .map(|event| serde_json::from_slice::<InvoiceCreated>(event.payload()).unwrap().number)
            .collect();
        assert_eq!(numbers, (1..=50).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_decision_with_an_id_is_made_once() {
    for on in stores() {
        let store = Arc::clone(&on.events);
        let app = start_on(&store).await;
        let define = || CourseCommand::DefineCourse { places: 1 };
        app.decide_with::<Subscription>("c1", define(), with_id("d")).await.unwrap();
        let full = app.decide_with::<Subscription>("c1", subscribe("ann"), with_id("a")).await.unwrap();
        let refused = app.decide_with::<Subscription>("c1", subscribe("bob"), with_id("b")).await;
        assert!(matches!(refused, Err(Error::Domain(CourseError::CourseFull))), "{refused:?}");
        let nothing = app.decide_with::<Subscription>("c1", subscribe("ann"), with_id("n")).await.unwrap();

        // Another process, later: every answer is the first one again.
        let app = start_on(&store).await;
        let events = store.reader(ReadRequest::default()).collect().await.unwrap().len();
        let again = app.decide_with::<Subscription>("c1", subscribe("ann"), with_id("a")).await.unwrap();
        assert_eq!(
            (again.version, again.position, &again.events),
            (full.version, full.position, &full.events)
        );
        assert!(again.duplicate && again.state.students == ["ann"]);
        let again = app.decide_with::<Subscription>("c1", subscribe("bob"), with_id("b")).await;
        assert!(matches!(again, Err(Error::Domain(CourseError::CourseFull))), "{again:?}");
        let again = app.decide_with::<Subscription>("c1", subscribe("ann"), with_id("n")).await.unwrap();
        assert!(again.duplicate && again.events.is_empty() && nothing.events.is_empty());
        let reused = app.decide_with::<Subscription>("c1", subscribe("eve"), with_id("b")).await;
        assert!(matches!(reused, Err(Error::CommandIdReused { .. })), "{reused:?}");
        assert_eq!(store.reader(ReadRequest::default()).collect().await.unwrap().len(), events);
    }
}

#[tokio::test]
async fn a_decision_is_dispatched_like_any_command() {
    for on in stores() {
        let store = Arc::clone(&on.events);
        let app = start_on(&store).await;
        let give = |name: &str, json: &'static str| {
            let request = CommandRequest::json("course", "c1", name, json, CommandOptions::default());
            app.dispatch(request)
        };
        let done = give("DefineCourse", r#"{"places":3}"#).await.ok().unwrap();
        assert_eq!((done.events[0].event_type, done.version), ("CourseDefined", Version::new(1)));
        let unknown = give("CloseCourse", "{}").await.err().unwrap();
        assert!(unknown.to_string().contains("there are: DefineCourse, SubscribeStudent"), "{unknown}");
        let refused: Option<Error<Rejection>> = give("DefineCourse", r#"{"places":3}"#).await.err();
        assert!(
            matches!(refused, Some(Error::Domain(ref why)) if why.code == "defined-before"),
            "{refused:?}"
        );
        let models = Arc::new(SqliteReadModels::temporary().unwrap());
        let twice =
            App::new("twice").decision::<NextInvoice>().decision::<NextInvoice>().start(store, models);
        let twice = twice.await.err();
        assert!(matches!(twice, Some(StartError::DuplicateName { kind: "commands", .. })), "{twice:?}");
    }
}
