//! Cards: each belongs to one account at a time, which no single account can know.

use annals::{
    Command, Context, Decision, DomainError, EventType, FilterItem, NameError, Scope, StreamName, Tag,
};
use serde::{Deserialize, Serialize};

use crate::account::AccountEvent;

/// Give a card to an account.
#[derive(Command, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct IssueCard {
    /// Its number.
    pub card: String,
}

/// Why the bank says no.
#[derive(Debug, thiserror::Error, DomainError, PartialEq)]
pub enum CardError {
    /// There is no such account, or no more.
    #[error("account {0} is not open: a card needs an open account")]
    AccountNotOpen(String),
    /// Another account has it.
    #[error("card {card} belongs to account {account}: a card has one account")]
    CardTaken {
        /// The card.
        card: String,
        /// Whose it is.
        account: String,
    },
    /// Not a number of a card.
    #[error("a card has a number of 8 to 19 digits, found {0:?}")]
    NotACard(String),
}

/// What has to be known to give a card to an account.
#[derive(Debug, Clone)]
pub struct CardIssuing {
    account: String,
    card: String,
    is_open: bool,
    belongs_to: Option<String>,
}

impl Decision for CardIssuing {
    const CATEGORY: &'static str = "account";
    type Command = IssueCard;
    type Event = AccountEvent;
    type Error = CardError;

    fn begin(id: &str, command: &IssueCard) -> Self {
        Self { account: id.to_owned(), card: command.card.clone(), is_open: false, belongs_to: None }
    }

    fn scope(&self) -> Result<Scope, NameError> {
        let of_account = FilterItem {
            stream: Some(StreamName::new(format!("account-{}", self.account))?),
            types: vec![EventType::new("AccountOpened")?, EventType::new("AccountClosed")?],
            ..FilterItem::default()
        };
        Ok(Scope::all(of_account).and(Scope::tagged([Tag::new(format!("card:{}", self.card))?])))
    }

    fn apply(&mut self, event: &AccountEvent) {
        match event {
            AccountEvent::AccountOpened { .. } => self.is_open = true,
            AccountEvent::AccountClosed => self.is_open = false,
            AccountEvent::CardIssued { account, .. } => self.belongs_to = Some(account.clone()),
            _ => {}
        }
    }

    fn handle(&self, command: &IssueCard, _: &Context) -> Result<Vec<AccountEvent>, CardError> {
        let card = command.card.clone();
        if !(8..=19).contains(&card.len()) || !card.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(CardError::NotACard(card));
        }
        let account = self.account.clone();
        match &self.belongs_to {
            Some(owner) if *owner == account => Ok(Vec::new()),
            Some(owner) => Err(CardError::CardTaken { card, account: owner.clone() }),
            None if !self.is_open => Err(CardError::AccountNotOpen(account)),
            None => Ok(vec![AccountEvent::CardIssued { card, account }]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::{Amount, Currency};
    use annals::given_decision;

    fn opened() -> AccountEvent {
        let (currency, overdraft_limit) = (Currency::default(), Amount::ZERO);
        AccountEvent::AccountOpened { owner: Some("Ann".into()), currency, overdraft_limit }
    }

    fn issued(card: &str, account: &str) -> AccountEvent {
        AccountEvent::CardIssued { card: card.into(), account: account.into() }
    }

    fn issue(card: &str) -> IssueCard {
        IssueCard { card: card.into() }
    }

    #[test]
    fn a_card_has_one_account() {
        let (card, other) = ("4000123412341234", "4000123412341235");
        given_decision::<CardIssuing>([("account-1", opened())])
            .when("1", issue(card))
            .then([issued(card, "1")]);
        let given = || [("account-1", opened()), ("account-1", issued(card, "1")), ("account-2", opened())];
        given_decision::<CardIssuing>(given()).when("1", issue(card)).then_nothing();
        given_decision::<CardIssuing>(given()).when("2", issue(card)).then_refused("card-taken");
        given_decision::<CardIssuing>(given()).when("2", issue(other)).then([issued(other, "2")]);
    }

    #[test]
    fn a_card_needs_an_open_account_and_a_number() {
        let card = "4000123412341234";
        given_decision::<CardIssuing>([]).when("1", issue(card)).then_refused("account-not-open");
        let closed = [("account-1", opened()), ("account-1", AccountEvent::AccountClosed)];
        given_decision::<CardIssuing>(closed).when("1", issue(card)).then_refused("account-not-open");
        given_decision::<CardIssuing>([("account-1", opened())])
            .when("1", issue("12ab"))
            .then_refused("not-a-card");
    }
}
