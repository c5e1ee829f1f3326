//! Layers of `tower` and of users: in which order they run, what they see, and what becomes of one that fails.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use annals_app::{Action, CommandOutcome, CommandRequest, CommandService, Error, Principal, Rejection};
use tower::limit::{ConcurrencyLimitLayer, RateLimitLayer};
use tower::{Layer, Service, ServiceBuilder};

use super::{by, increment, start};
use crate::domain::{Counter, CounterCommand, World};

type Answer = Result<CommandOutcome, Error<Rejection>>;
type Before = dyn Fn(&mut CommandRequest) -> Result<(), Error<Rejection>> + Send + Sync;

/// What a layer does around a command: before it and, unless that fails, after it.
#[derive(Clone)]
struct Around {
    before: Arc<Before>,
    after: Arc<dyn Fn(Answer) -> Answer + Send + Sync>,
}

impl Around {
    fn before(
        before: impl Fn(&mut CommandRequest) -> Result<(), Error<Rejection>> + Send + Sync + 'static,
    ) -> Self {
        Self { before: Arc::new(before), after: Arc::new(|answer| answer) }
    }

    fn after(after: impl Fn(Answer) -> Answer + Send + Sync + 'static) -> Self {
        Self { before: Arc::new(|_| Ok(())), after: Arc::new(after) }
    }
}

impl Layer<CommandService> for Around {
    type Service = AroundService;

    fn layer(&self, inner: CommandService) -> AroundService {
        AroundService { around: self.clone(), inner }
    }
}

#[derive(Clone)]
struct AroundService {
    around: Around,
    inner: CommandService,
}

impl Service<CommandRequest> for AroundService {
    type Response = CommandOutcome;
    type Error = Error<Rejection>;
    type Future = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error<Rejection>>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: CommandRequest) -> Self::Future {
        let before = (self.around.before)(&mut request);
        let (after, given) = (Arc::clone(&self.around.after), before.map(|()| self.inner.call(request)));
        Box::pin(async move { after(given?.await) })
    }
}

#[tokio::test]
async fn the_last_layer_is_the_outermost_and_all_are_outside_of_the_permission() {
    let world = World::new();
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let noting = |name: &'static str, seen: &Arc<Mutex<Vec<String>>>| {
        let (before, after) = (Arc::clone(seen), Arc::clone(seen));
        Around {
            before: Arc::new(move |request| {
                let CommandRequest { category, id, name: command, options, .. } = request;
                let who = &options.principal.name;
                before.lock().unwrap().push(format!("{name}: {who} gives {command} to {category} {id}"));
                Ok(())
            }),
            after: Arc::new(move |answer| {
                let told = answer.as_ref().map_or_else(ToString::to_string, |done| done.version.to_string());
                after.lock().unwrap().push(format!("{name}: {told}"));
                answer
            }),
        }
    };
    // A layer may know who asks.
    let login = Around::before(|request| {
        request.options.principal = Principal::named("ann");
        Ok(())
    });
    let asked = Arc::clone(&seen);
    let permission = move |who: &Principal, action: &Action<'_>| {
        asked.lock().unwrap().push(format!("permission: {action} by {}", who.name));
        if who.name == "ann" { Ok(()) } else { Err("who are you".to_owned()) }
    };
    let app = world.app().permission(permission);
    let app = app.layer(noting("inner", &seen)).layer(login).layer(noting("outer", &seen));
    let app = start(&world, app).await;
    app.execute::<Counter>("a", CounterCommand::Increment { by: 1 }).await.unwrap();
    let expected = [
        "outer: anonymous gives Increment to counter a",
        "inner: ann gives Increment to counter a",
        "permission: Increment on counter \"a\" by ann",
        "inner: 1",
        "outer: 1",
    ];
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[tokio::test]
async fn a_layer_that_fails_before_a_command_keeps_it_from_being_done() {
    let world = World::new();
    let reason = || "closed on Sundays".to_owned();
    let layer = Around::before(move |_| Err(Error::Middleware { reason: reason() }));
    let app = start(&world, world.app().layer(layer)).await;
    let error = app.dispatch(increment("a", by("ann", "k"))).await.err().unwrap();
    assert!(matches!(&error, Error::Middleware { reason: told } if *told == reason()), "as it is: {error}");
    assert_eq!(app.store().head().await.unwrap().get(), 0);
}

#[tokio::test]
async fn a_layer_that_fails_or_panics_after_a_command_leaves_it_done() {
    let world = World::new();
    let plain = world.start().await;
    let failing =
        Around::after(|answer| answer.and(Err(Error::Middleware { reason: "the audit is away".to_owned() })));
    let app = start(&world, world.app().layer(failing)).await;
    let error = app.dispatch(increment("a", by("ann", "k1"))).await.err().unwrap();
    assert!(matches!(error, Error::Middleware { .. }), "{error}");
    let again = plain.dispatch(increment("a", by("ann", "k1"))).await.unwrap();
    assert!(again.duplicate && again.version.get() == 1, "the retry gets the first answer");

    let app = start(&world, world.app().layer(Around::after(|_| panic!("on thin ice")))).await;
    for _ in 0..2 {
        let error = app.dispatch(increment("a", by("ann", "k2"))).await.err().unwrap();
        assert!(matches!(error, Error::Panicked { is_unknown: true, .. }), "{error}");
        assert!(error.to_string().contains("whether the command was done is not known"), "{error}");
    }
    let again = plain.dispatch(increment("a", by("ann", "k2"))).await.unwrap();
    assert!(again.duplicate && again.version.get() == 2, "done once");

    let app = start(&world, world.app().layer(Around::before(|_| panic!("on thin ice")))).await;
    assert!(matches!(app.dispatch(increment("a", by("ann", "k3"))).await, Err(Error::Panicked { .. })));
    let typed = app.execute::<Counter>("a", CounterCommand::Increment { by: 1 }).await;
    assert!(matches!(typed, Err(Error::Panicked { .. })), "{typed:?}");
    assert_eq!(app.store().head().await.unwrap().get(), 2);
}

#[tokio::test(start_paused = true)]
async fn layers_of_tower_fit() {
    let world = World::new();
    // What a rate limit makes cannot be cloned, so that it stands behind a buffer, whose errors are boxed.
    let rate = ServiceBuilder::new()
        .map_err(Error::from)
        .buffer(16)
        .layer(RateLimitLayer::new(2, Duration::from_secs(60)))
        .into_inner();
    let app = world.app().layer(ConcurrencyLimitLayer::new(1)).layer(rate);
    let app = start(&world, app).await;
    let begun = tokio::time::Instant::now();
    for _ in 0..4 {
        app.execute::<Counter>("a", CounterCommand::Increment { by: 1 }).await.unwrap();
    }
    assert!(begun.elapsed() >= Duration::from_secs(60), "two a minute");
    // The error of a command comes through the box as it was.
    let refused = app.execute::<Counter>("a", CounterCommand::Increment { by: 101 }).await;
    assert!(matches!(refused, Err(Error::Domain(crate::domain::CounterError::TooMuch(101)))), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_layer_says_of_its_own_is_told_as_middleware() {
    let world = World::new();
    let late = ServiceBuilder::new().map_err(Error::from).timeout(Duration::from_secs(1)).into_inner();
    // Tower's own limit: one command at once, which never ends.
    let held = Around::after(|answer| answer);
    let stuck = tower::layer::layer_fn(|_: CommandService| {
        tower::service_fn(|_: CommandRequest| std::future::pending::<Answer>())
    });
    let app = start(&world, world.app().layer(held).layer(stuck).layer(late)).await;
    let error = app.dispatch(increment("a", Default::default())).await.err().unwrap();
    assert!(matches!(&error, Error::Middleware { reason } if reason == "request timed out"), "{error}");
}
