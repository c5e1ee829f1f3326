//! Dispatches commands to the aggregate or decision that they are for, if whoever gives them may.

use std::sync::Arc;
use std::task::{Context, Poll};

use annals_core::BoxFuture;
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceExt};

use crate::commands::Handlers;
use crate::panics::catch_panic;
use crate::{CommandOutcome, CommandRequest, Error, Principal, Rejection};

/// What middleware wraps: a `tower` service from command to outcome.
///
/// ```
/// use std::task::{Context, Poll};
/// # use annals_app::{App, CommandOutcome, CommandRequest, CommandService, Error, Rejection};
/// # use annals_core::BoxFuture;
///
/// /// Tells who did what.
/// #[derive(Clone)]
/// struct Audit(CommandService);
///
/// impl tower::Service<CommandRequest> for Audit {
///     type Response = CommandOutcome;
///     type Error = Error<Rejection>;
///     type Future = BoxFuture<'static, Result<CommandOutcome, Error<Rejection>>>;
///
///     fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
///         self.0.poll_ready(context)
///     }
///     fn call(&mut self, request: CommandRequest) -> Self::Future {
///         let who = request.options.principal.name.clone();
///         let answer = self.0.call(request);
///         Box::pin(async move { answer.await.inspect(|done| println!("{who}: {}", done.stream)) })
///     }
/// }
///
/// let app = App::new("shop").layer(tower::layer::layer_fn(Audit));
/// ```
pub type CommandService = BoxCloneSyncService<CommandRequest, CommandOutcome, Error<Rejection>>;

/// What somebody wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<'a> {
    /// Give a command.
    Command {
        /// The category of the aggregate.
        category: &'a str,
        /// The entity.
        id: &'a str,
        /// The command.
        name: &'a str,
    },
    /// Ask a question.
    Query {
        /// The question.
        name: &'a str,
    },
    /// Look after a read model.
    Keep {
        /// The projection.
        projection: &'a str,
        /// What is to be done: `rebuild`, `retry`, `skip`, `park`, `release`, `roll-back`, `roll-forward` or `proof`.
        what: &'a str,
    },
    /// Look after a reaction.
    React {
        /// The reaction.
        reaction: &'a str,
        /// What is to be done with its dead letters: `list`, `retry` or `drop`.
        what: &'a str,
    },
}

impl std::fmt::Display for Action<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Command { category, id, name } => write!(f, "{name} on {category} {id:?}"),
            Self::Query { name } => write!(f, "ask {name}"),
            Self::Keep { projection, what } => write!(f, "{what} the projection {projection:?}"),
            Self::React { reaction, what } => write!(f, "{what} dead letters of the reaction {reaction:?}"),
        }
    }
}

/// Decides whether somebody may do something; the error is the reason why not.
pub type Permission = dyn Fn(&Principal, &Action<'_>) -> Result<(), String> + Send + Sync;

/// The way of every command.
#[derive(Clone)]
pub(crate) enum Commands {
    /// Straight to the mediator: a service is cloned for each command, which is not for nothing.
    Plain(Mediator),
    /// Through the middleware.
    Layered(CommandService),
}

impl Commands {
    pub(crate) async fn give(&self, request: CommandRequest) -> Result<CommandOutcome, Error<Rejection>> {
        match self {
            Self::Plain(mediator) => mediator.give(request)?.await,
            Self::Layered(service) => service.clone().oneshot(request).await,
        }
    }
}

/// The innermost service: permission, then the handler of the aggregate or decision.
#[derive(Clone)]
pub(crate) struct Mediator {
    handlers: Arc<Handlers>,
    permission: Arc<Permission>,
}

impl Mediator {
    pub(crate) fn new(handlers: Arc<Handlers>, permission: Arc<Permission>) -> Self {
        Self { handlers, permission }
    }

    /// Hands a command to its handler, if it may be given.
    fn give(&self, request: CommandRequest) -> Result<Answering, Error<Rejection>> {
        let action = Action::Command { category: &request.category, id: &request.id, name: &request.name };
        // Before anything else: who may not give a command is not told whether there is one.
        permit(&*self.permission, &request.options.principal, &action)?;
        let handler = self.handlers.of_command(&request.category, &request.name)?;
        Ok(Arc::clone(handler).handle(request))
    }
}

/// The answer to a command, once it is there.
type Answering = BoxFuture<'static, Result<CommandOutcome, Error<Rejection>>>;

impl Service<CommandRequest> for Mediator {
    type Response = CommandOutcome;
    type Error = Error<Rejection>;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: CommandRequest) -> Self::Future {
        let mediator = self.clone();
        Box::pin(async move { mediator.give(request)?.await })
    }
}

fn permit(
    permission: &Permission,
    principal: &Principal,
    action: &Action<'_>,
) -> Result<(), Error<Rejection>> {
    match catch_panic(|| permission(principal, action)) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(reason)) => {
            Err(Error::Denied { principal: principal.name.to_string(), action: action.to_string(), reason })
        }
        Err(message) => Err(Error::panicked(&format!("the permission to {action}"), message)),
    }
}
