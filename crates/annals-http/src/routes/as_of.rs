//! Questions about the past: `GET /queries/{query}?…&annals-position=…`, `annals-at=…` or `annals-occurred-at=…`.

use annals_app::{Answer, At, Principal};
use annals_core::{Position, Timestamp};
use axum::extract::Query;
use axum::http::{HeaderMap, StatusCode};

use super::sse::wants_live;
use super::{ANNALS_AT_LEAST, Service};
use crate::Problem;

/// So many questions about the past are answered at once: each builds a read model of its own.
pub(super) const AT_ONCE: usize = 2;

/// No field of a question begins like this: names in Rust have no dashes.
const PREFIX: &str = "annals-";

const EXPECTED: &str = "expected one of annals-position, annals-at and annals-occurred-at";

/// Takes the parameter that names a moment out of a form; what is left are the fields of the question.
pub(super) fn split(form: &str) -> Result<(Option<At>, String), Problem> {
    let (own, fields): (Vec<&str>, Vec<&str>) =
        form.split('&').filter(|pair| !pair.is_empty()).partition(|pair| pair.starts_with(PREFIX));
    let at = match own[..] {
        [] => None,
        [only] => Some(moment(only)?),
        _ => return Err(Problem::malformed(format!("{EXPECTED}, found {}", own.join(" and ")))),
    };
    Ok((at, fields.join("&")))
}

fn moment(pair: &str) -> Result<At, Problem> {
    let uri = format!("/?{pair}").parse().map_err(|_| Problem::malformed("the query is no URI"))?;
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&uri)?;
    let (name, value) = pairs.into_iter().next().unwrap_or_default();
    let wrong = |reason: String| Problem::malformed(format!("the parameter {name:?}: {reason}"));
    let time = || value.parse::<Timestamp>().map_err(|error| wrong(error.to_string()));
    match name.as_str() {
        "annals-position" => {
            let position = value.parse::<Position>();
            Ok(At::Position(position.map_err(|_| wrong(format!("expected a position, found {value:?}")))?))
        }
        "annals-at" => Ok(At::RecordedAt(time()?)),
        "annals-occurred-at" => Ok(At::OccurredAt(time()?)),
        _ => Err(wrong(EXPECTED.to_owned())),
    }
}

/// Answers a question about the past, unless as many as are answered at once are being answered.
pub(super) async fn answer(
    service: &Service,
    query: &str,
    form: String,
    at: At,
    principal: &Principal,
    headers: &HeaderMap,
) -> Result<Answer, Problem> {
    if wants_live(headers) {
        let detail = "the past does not change: ask for it without \"accept: text/event-stream\"";
        return Err(Problem::malformed(detail));
    }
    if headers.contains_key(&ANNALS_AT_LEAST) {
        let detail = format!("expected the header {ANNALS_AT_LEAST} or a moment of the past, found both");
        return Err(Problem::malformed(detail));
    }
    let _turn = service.as_of.try_acquire().map_err(|_| {
        let detail = format!(
            "{AT_ONCE} questions about the past are being answered, each of which takes as long as building its read \
             model anew: try again later"
        );
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "as-of-busy", detail)
    })?;
    // When the client goes away meanwhile, the building ends with this future.
    Ok(service.app.answer_as_of(query, form, at, principal, &|_| {}).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_moment_is_taken_out_of_the_form() {
        let (at, form) = split("a=1&annals-position=7&b=x%20y").unwrap();
        assert_eq!((at, form.as_str()), (Some(At::Position(Position::new(7))), "a=1&b=x%20y"));
        let (at, form) = split("annals-at=1993-03-31T00%3A00%3A00Z").unwrap();
        assert_eq!((at, form.as_str()), (Some(At::RecordedAt("1993-03-31".parse().unwrap())), ""));
        let (at, _) = split("annals-occurred-at=1993-03-31").unwrap();
        assert_eq!(at, Some(At::OccurredAt("1993-03-31".parse().unwrap())));
        assert_eq!(split("at=1&position=2").unwrap(), (None, "at=1&position=2".to_owned()));
    }
}
