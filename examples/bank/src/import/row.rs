//! A row of a bank-transaction file: what it says, and which event it becomes.

use annals::{BoxError, EventId, EventType, Named, NewEvent, StreamName, codec};
use jiff::civil::Date;
use serde_json::json;

use crate::account::{AccountEvent, OtherAccount, WithdrawalMethod};
use crate::money::{Amount, AmountError, Currency};
use crate::month::start_of;

/// The names of the columns, as the first line gives them.
const COLUMNS: [&str; 10] = [
    "trans_id",
    "account_id",
    "date",
    "type",
    "operation",
    "amount",
    "balance",
    "k_symbol",
    "bank",
    "account",
];
/// Amounts in the file are in crowns.
pub(super) const FILE_CURRENCY: Currency = Currency::CZK;
/// Sets the ids of imported events apart from others.
const ID_SCOPE: &str = "bank transaction file";

/// A transaction as the file tells it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TransactionRow {
    /// The transaction's number.
    pub(super) transaction: String,
    /// The account's number.
    pub(super) account: String,
    day: Date,
    event: AccountEvent,
    operation: String,
    symbol: String,
    recorded_balance: Amount,
}

/// Why a line is no transaction.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(super) enum RowError {
    #[error("not UTF-8 at byte {0}")]
    NotUtf8(usize),
    #[error("a quoted field does not end")]
    OpenQuote,
    #[error("{found} fields, expected {}", COLUMNS.len())]
    FieldCount { found: usize },
    #[error("{column}: {value:?} is no number")]
    NotANumber { column: &'static str, value: String },
    #[error("date: {0:?} is no day, expected YYMMDD")]
    NotADay(String),
    #[error("type: {0:?} is unknown, expected PRIJEM, VYDAJ or VYBER")]
    UnknownType(String),
    #[error("{column}: {error}")]
    Amount { column: &'static str, error: AmountError },
    #[error("amount: {0} is below zero; the type tells the direction")]
    Negative(Amount),
}

/// Whether a line is the one that names the columns. Some programs put a byte order mark before it.
pub(super) fn is_header(line: &[u8]) -> bool {
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    fields(line).is_ok_and(|fields| fields == COLUMNS)
}

/// How the first line of a file is expected to look.
pub(super) fn expected_header() -> String {
    COLUMNS.map(|name| format!("{name:?}")).join(";")
}

/// Splits a line at `;`. A field may stand in double quotes. Each line stands for itself, so that an open quote spoils
/// only its own.
fn fields(line: &[u8]) -> Result<Vec<String>, RowError> {
    let text = std::str::from_utf8(line).map_err(|error| RowError::NotUtf8(error.valid_up_to()))?;
    let mut fields = Vec::new();
    let mut rest = text.trim_end_matches(['\r', '\n']);
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').ok_or(RowError::OpenQuote)?,
            None => rest.split_at(rest.find(';').unwrap_or(rest.len())),
        };
        fields.push(field.to_owned());
        match after.strip_prefix(';') {
            Some(after) => rest = after,
            None if after.is_empty() => return Ok(fields),
            None => return Err(RowError::OpenQuote),
        }
    }
}

impl TransactionRow {
    /// Reads a line.
    pub(super) fn parse(line: &[u8]) -> Result<Self, RowError> {
        let fields = fields(line)?;
        let found = fields.len();
        let fields: [String; COLUMNS.len()] =
            fields.try_into().map_err(|_| RowError::FieldCount { found })?;
        let [transaction, account, day, kind, operation, amount, balance, symbol, bank, other] = fields;
        let transaction = number("trans_id", transaction)?;
        let account = number("account_id", account)?;
        let amount = amount_in("amount", &amount)?;
        if amount < Amount::ZERO {
            return Err(RowError::Negative(amount));
        }
        let other = (!bank.is_empty() || !other.is_empty()).then_some(OtherAccount { bank, account: other });
        let symbol = symbol.trim().to_owned();
        let event = event(&kind, &operation, &symbol, amount, other)?;
        let recorded_balance = amount_in("balance", &balance)?;
        Ok(Self { transaction, account, day: parse_day(&day)?, event, operation, symbol, recorded_balance })
    }

    /// The stream of the account.
    pub(super) fn stream(&self) -> Result<StreamName, BoxError> {
        Ok(StreamName::new(format!("account-{}", self.account))?)
    }

    /// The opening of the account, which the file leaves out. Always the same event for one account.
    pub(super) fn opening(&self) -> Result<NewEvent, BoxError> {
        let (currency, overdraft_limit) = (FILE_CURRENCY, Amount::ZERO);
        let opened = AccountEvent::AccountOpened { owner: None, currency, overdraft_limit };
        let id = EventId::derived(ID_SCOPE, &format!("opening of {}", self.account));
        let source = json!({ "source": ID_SCOPE });
        Ok(stored(self.stream()?, &opened, id)?.occurred_at(start_of(self.day)).metadata(source.to_string()))
    }

    /// The id of the transaction's event: always the same for one transaction.
    pub(super) fn event_id(&self) -> EventId {
        EventId::derived(ID_SCOPE, &self.transaction)
    }

    /// The transaction. What the account's events have no place for is kept as metadata.
    pub(super) fn transaction(&self) -> Result<NewEvent, BoxError> {
        let source = json!({
            "source": ID_SCOPE,
            "transaction": self.transaction,
            "operation": self.operation,
            "symbol": self.symbol,
            "recorded_balance": self.recorded_balance,
        });
        let event = stored(self.stream()?, &self.event, self.event_id())?;
        Ok(event.occurred_at(start_of(self.day)).metadata(source.to_string()))
    }
}

fn stored(stream: StreamName, event: &AccountEvent, id: EventId) -> Result<NewEvent, BoxError> {
    Ok(NewEvent::new(stream, EventType::new(event.name())?).id(id).json(codec::encode(event)?))
}

/// Which event a row is. It happened, so a row of a kind not known still counts, as cash in or out.
fn event(
    kind: &str,
    operation: &str,
    symbol: &str,
    amount: Amount,
    other: Option<OtherAccount>,
) -> Result<AccountEvent, RowError> {
    let purpose = (!symbol.is_empty()).then(|| symbol.to_owned());
    Ok(match (kind, operation, symbol) {
        ("PRIJEM", _, "UROK") => AccountEvent::InterestCredited { amount },
        ("PRIJEM", "PREVOD Z UCTU", _) => AccountEvent::TransferReceived { amount, from: other, purpose },
        ("PRIJEM", ..) => AccountEvent::MoneyDeposited { amount },
        ("VYDAJ" | "VYBER", _, "SLUZBY") => {
            AccountEvent::FeeCharged { amount, reason: Some("statement".to_owned()) }
        }
        ("VYDAJ" | "VYBER", _, "SANKC. UROK") => AccountEvent::PenaltyInterestCharged { amount },
        ("VYDAJ" | "VYBER", "PREVOD NA UCET", _) => AccountEvent::TransferSent { amount, to: other, purpose },
        ("VYDAJ" | "VYBER", "VYBER KARTOU", _) => {
            AccountEvent::MoneyWithdrawn { amount, method: WithdrawalMethod::Card }
        }
        ("VYDAJ" | "VYBER", ..) => AccountEvent::MoneyWithdrawn { amount, method: WithdrawalMethod::Cash },
        _ => return Err(RowError::UnknownType(kind.to_owned())),
    })
}

/// Numbers are names here: digits without leading zeros, so that one account has one stream.
fn number(column: &'static str, value: String) -> Result<String, RowError> {
    let number = value.trim().parse::<u64>().map(|number| number.to_string());
    number.map_err(|_| RowError::NotANumber { column, value })
}

fn amount_in(column: &'static str, value: &str) -> Result<Amount, RowError> {
    value.trim().parse().map_err(|error| RowError::Amount { column, error })
}

/// The records are of the twentieth century.
fn parse_day(text: &str) -> Result<Date, RowError> {
    let two = |range: std::ops::Range<usize>| text.get(range).and_then(|digits| digits.parse::<u8>().ok());
    let wrong = || RowError::NotADay(text.to_owned());
    if text.len() != 6 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let (Some(year), Some(month), Some(day)) = (two(0..2), two(2..4), two(4..6)) else { return Err(wrong()) };
    Date::new(1900 + i16::from(year), month as i8, day as i8).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<TransactionRow, RowError> {
        TransactionRow::parse(line.as_bytes())
    }

    #[test]
    fn rows_become_events() {
        let amount: Amount = "10.50".parse().unwrap();
        let other = Some(OtherAccount { bank: "ST".into(), account: "42".into() });
        let cash = AccountEvent::MoneyWithdrawn { amount, method: WithdrawalMethod::Cash };
        let card = AccountEvent::MoneyWithdrawn { amount, method: WithdrawalMethod::Card };
        let household = Some("SIPO".to_owned());
        let cases = [
            (r#""PRIJEM";"VKLAD";10.50;0.00;"";;"#, AccountEvent::MoneyDeposited { amount }),
            (r#""PRIJEM";"";10.50;0.00;"UROK";;"#, AccountEvent::InterestCredited { amount }),
            (r#""VYDAJ";"VYBER";10.50;-1.00;" ";;"#, cash.clone()),
            (r#""VYBER";"VYBER";10.50;0.00;"";;"#, cash.clone()),
            (r#""VYDAJ";"UNHEARD OF";10.50;0.00;"";;"#, cash),
            (r#""VYDAJ";"VYBER KARTOU";10.50;0.00;"";;"#, card),
            (
                r#""VYDAJ";"VYBER";10.50;0.00;"SANKC. UROK";;"#,
                AccountEvent::PenaltyInterestCharged { amount },
            ),
            (
                r#""PRIJEM";"PREVOD Z UCTU";10.50;0.00;"";"ST";"42""#,
                AccountEvent::TransferReceived { amount, from: other.clone(), purpose: None },
            ),
            (
                r#""VYDAJ";"PREVOD NA UCET";10.50;0.00;"SIPO";"ST";"42""#,
                AccountEvent::TransferSent { amount, to: other, purpose: household },
            ),
        ];
        for (rest, event) in cases {
            let row = parse(&format!("7;18;930228;{rest}\r\n")).unwrap();
            assert_eq!(
                (row.event, row.account.as_str(), row.day.to_string().as_str()),
                (event, "18", "1993-02-28")
            );
        }
    }

    #[test]
    fn broken_lines_say_what_is_wrong() {
        let good = r#"7;18;930228;"PRIJEM";"VKLAD";10.50;0.00;"";;"#;
        assert!(parse(good).is_ok());
        let message = |from: &str, to: &str| parse(&good.replace(from, to)).unwrap_err().to_string();
        assert_eq!(message("930228", "930229"), "date: \"930229\" is no day, expected YYMMDD");
        assert_eq!(message("10.50", "1e400"), AmountText::malformed("1e400"));
        assert_eq!(message("10.50", "-10.50"), "amount: -10.50 is below zero; the type tells the direction");
        assert_eq!(message("7;", "x;"), "trans_id: \"x\" is no number");
        assert_eq!(message(";;", ";"), "9 fields, expected 10");
        assert_eq!(message("\"VKLAD\"", "\"VKLAD"), "a quoted field does not end");
        assert_eq!(message("PRIJEM", "GIFT"), "type: \"GIFT\" is unknown, expected PRIJEM, VYDAJ or VYBER");
        assert_eq!(TransactionRow::parse(b"7;\xff"), Err(RowError::NotUtf8(2)));
        assert!(is_header(expected_header().as_bytes()));
    }

    struct AmountText;

    impl AmountText {
        fn malformed(text: &str) -> String {
            format!("amount: {}", AmountError::Malformed(text.to_owned()))
        }
    }
}
