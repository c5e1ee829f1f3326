//! The header `traceparent` of [W3C Trace Context](https://www.w3.org/TR/trace-context/), by which a request says of which
//! distributed trace it is a part.

use axum::http::HeaderMap;

/// The id of the trace that a request is a part of: 32 hexadecimal digits. A header that is not as it should be, or that is there
/// twice, counts for nothing, as the standard has it.
pub(crate) fn trace_id(headers: &HeaderMap) -> Option<&str> {
    let mut given = headers.get_all("traceparent").iter();
    let (only, None) = (given.next()?, given.next()) else { return None };
    parse(only.to_str().ok()?)
}

fn parse(header: &str) -> Option<&str> {
    let mut parts = header.split('-');
    let (version, trace) = (parts.next()?, parts.next()?);
    let (parent, flags) = (parts.next()?, parts.next()?);
    let has_more = parts.next().is_some();
    let is_hex = |text: &str, digits: usize| {
        text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_some_id =
        |text: &str, digits: usize| is_hex(text, digits) && text.bytes().any(|byte| byte != b'0');
    // A later version may say more behind what this one says.
    let is_version = is_hex(version, 2) && version != "ff" && (version != "00" || !has_more);
    (is_version && is_some_id(trace, 32) && is_some_id(parent, 16) && is_hex(flags, 2)).then_some(trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn the_trace_id_is_taken_from_what_is_as_the_standard_has_it() {
        for good in [
            "00-TRACE-00f067aa0ba902b7-01",
            "00-TRACE-00f067aa0ba902b7-00",
            "cc-TRACE-00f067aa0ba902b7-01-more",
        ] {
            assert_eq!(parse(&good.replace("TRACE", TRACE)), Some(TRACE), "{good}");
        }
    }

    #[test]
    fn anything_else_counts_for_nothing() {
        for bad in [
            "",
            "00",
            "00-TRACE",
            "00-TRACE-00f067aa0ba902b7",
            "00-TRACE-00f067aa0ba902b7-01-more",
            "ff-TRACE-00f067aa0ba902b7-01",
            "0-TRACE-00f067aa0ba902b7-01",
            "00-TRACE0-00f067aa0ba902b7-01",
            "00-TRACE-0000000000000000-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-TRACE-00F067AA0BA902B7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01",
            " 00-TRACE-00f067aa0ba902b7-01",
        ] {
            assert_eq!(parse(&bad.replace("TRACE", TRACE)), None, "{bad}");
        }
    }

    #[test]
    fn two_headers_are_none() {
        let mut headers = HeaderMap::new();
        let value = format!("00-{TRACE}-00f067aa0ba902b7-01");
        headers.append("traceparent", value.parse().unwrap());
        assert_eq!(trace_id(&headers), Some(TRACE));
        headers.append("traceparent", value.parse().unwrap());
        assert_eq!(trace_id(&headers), None);
    }
}
