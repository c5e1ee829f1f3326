//! Text from outside: filters, queries of the service, CloudEvents, names, times. What is taken comes back the same.
#![no_main]

use annals_core::{
    EventId, Filter, Position, RecordedEvent, StreamName, Tag, Timestamp, Version, cloud_event, encode_body,
    parse_cloud_event,
};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = annals_http::is_events_query(text);
    if let Ok(filter) = serde_json::from_str::<Filter>(text) {
        let again = serde_json::to_string(&filter).expect("a filter is JSON");
        assert_eq!(serde_json::from_str::<Filter>(&again).expect("its own JSON"), filter);
    }
    if let Ok(moment) = text.parse::<Timestamp>() {
        assert_eq!(moment.to_string().parse::<Timestamp>().expect("its own text"), moment);
    }
    if let Ok(name) = StreamName::new(text) {
        assert_eq!(name.as_str(), text);
    }
    let _ = (Tag::new(text), text.parse::<EventId>(), text.parse::<Position>(), text.parse::<Version>());
    if let Ok(event) = parse_cloud_event(text) {
        let event = event.occurred_at(Timestamp::from_micros(7));
        let (position, version) = (Position::new(1), Version::new(1));
        let recorded = RecordedEvent::view(position, version, Timestamp::from_micros(9), encode_body(&event));
        let line = cloud_event(&recorded.expect("an event that was taken can be stored")).expect("JSON");
        assert!(!line.contains('\n'));
        assert_eq!(parse_cloud_event(&line).expect("its own line"), event);
    }
});
