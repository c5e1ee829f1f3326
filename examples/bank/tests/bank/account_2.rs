/// The stream account-2 as it was at version 15.
#[test]
fn account_2_at_version_15() {
    let given = annals::given_stored::<bank::account::Account>([
        ("AccountOpened", r#"{"owner":null,"currency":"CZK","overdraft_limit":"0.00"}"#), // 1993-01-17T00:00:00Z
        ("MoneyDeposited", r#"{"amount":"5129.69"}"#), // 1993-01-17T00:00:00Z
        ("TransferSent", r#"{"amount":"2509.01","to":{"bank":"CD","account":"30166847"},"purpose":"UVER"}"#), // 1993-01-24T00:00:00Z
        ("TransferReceived", r#"{"amount":"7582.09","from":{"bank":"EF","account":"90407607"},"purpose":"DUCHOD"}"#), // 1993-01-25T00:00:00Z
        ("TransferReceived", r#"{"amount":"7113.52","from":{"bank":"EF","account":"77509522"},"purpose":null}"#), // 1993-01-25T00:00:00Z
        ("TransferSent", r#"{"amount":"4835.87","to":{"bank":"CD","account":"64694749"},"purpose":"SIPO"}"#), // 1993-02-05T00:00:00Z
        ("PenaltyInterestCharged", r#"{"amount":"13.11"}"#), // 1993-02-13T00:00:00Z
        ("MoneyWithdrawn", r#"{"amount":"1567.31","method":"cash"}"#), // 1993-03-01T00:00:00Z
        ("TransferSent", r#"{"amount":"5563.08","to":{"bank":"EF","account":"65207318"},"purpose":"UVER"}"#), // 1993-03-26T00:00:00Z
        ("MoneyWithdrawn", r#"{"amount":"5828.16","method":"card"}"#), // 1993-04-08T00:00:00Z
        ("MoneyWithdrawn", r#"{"amount":"1490.36","method":"cash"}"#), // 1993-05-13T00:00:00Z
        ("MoneyDeposited", r#"{"amount":"6402.86"}"#), // 1993-05-27T00:00:00Z
        ("TransferReceived", r#"{"amount":"1190.06","from":{"bank":"CD","account":"24253835"},"purpose":null}"#), // 1993-05-28T00:00:00Z
        ("TransferSent", r#"{"amount":"7244.95","to":{"bank":"CD","account":"26181664"},"purpose":"SIPO"}"#), // 1993-06-13T00:00:00Z
        ("InterestCredited", r#"{"amount":"17.18"}"#), // 1993-06-26T00:00:00Z
    ]);
    let state = serde_json::to_value(given.state()).unwrap();
    let expected: serde_json::Value = serde_json::from_str(
        r#"{
          "status": "open",
          "owner": null,
          "balance": "-1616.45",
          "currency": "CZK",
          "overdraft_limit": "0.00",
          "transactions": 14
        }"#,
    )
    .unwrap();
    assert_eq!(state, expected);
}
