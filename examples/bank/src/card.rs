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
