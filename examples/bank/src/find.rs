//! Transactions found by the words in them: a full-text index. Only with the feature `search`.

use annals::search::tantivy::schema::{FAST, Field, INDEXED, STORED, STRING, Schema, TEXT, Value};
use annals::search::tantivy::{TantivyDocument, Term};
use annals::search::{SearchError, index, searcher};
use annals::{
    BoxError, Category, Filter, ModelKind, Projection, Query, QueryContext, QueryError, ReadModelTx,
    RecordedEvent, decode_events,
};
use serde::{Deserialize, Serialize};

use crate::account::AccountEvent;
use crate::money::Amount;
use crate::month::day_of;
use crate::statements::describe;

/// Keeps a document for each transaction.
pub struct Transactions;

impl Projection for Transactions {
    const NAME: &'static str = "transactions";
    const VERSION: u32 = 1;
    const KIND: ModelKind = ModelKind::Documents;

    fn filter(&self) -> Filter {
        Category::new("account").map(Filter::category).unwrap_or_default()
    }

    async fn prepare(&self, tx: &mut dyn ReadModelTx) -> Result<(), BoxError> {
        let mut fields = Schema::builder();
        fields.add_u64_field("position", INDEXED | STORED | FAST);
        fields.add_text_field("account", STRING | STORED);
        fields.add_text_field("day", STRING | STORED);
        fields.add_text_field("text", TEXT | STORED);
        fields.add_i64_field("hundredths", STORED | FAST);
        index(tx)?.schema(fields.build())?;
        Ok(())
    }

    async fn apply(&self, tx: &mut dyn ReadModelTx, events: &[RecordedEvent]) -> Result<(), BoxError> {
        let index = index(tx)?;
        let fields = index.fields();
        let [position, account, day, text, hundredths] =
            ["position", "account", "day", "text", "hundredths"].map(|name| fields.get_field(name));
        let (position, account, day, text, hundredths) = (position?, account?, day?, text?, hundredths?);
        for decoded in decode_events::<AccountEvent>(events) {
            let (recorded, event) = decoded?;
            let Some(change) = event.change() else { continue };
            let (kind, details) = describe(&event);
            let mut document = TantivyDocument::new();
            document.add_u64(position, recorded.position().get());
            document.add_text(account, recorded.entity_id());
            document.add_text(day, day_of(recorded.occurred_at()).to_string());
            document.add_text(text, format!("{kind} {}", details.unwrap_or_default()).trim());
            document.add_i64(hundredths, change.hundredths());
            index.put(Term::from_field_u64(position, recorded.position().get()), document)?;
        }
        Ok(())
    }
}

/// Which transactions have these words? `account:42` narrows to an account; `AND`, `OR`, `NOT` and `"phrases"` work.
#[derive(Query, Serialize, Deserialize)]
#[query(output = Vec<FoundTransaction>, from = Transactions)]
#[serde(deny_unknown_fields)]
pub struct FindTransactions {
    /// The words.
    pub text: String,
    /// How many at most; 20 unless told otherwise.
    #[serde(default)]
    pub limit: Option<u32>,
}

/// A transaction that has the words.
#[derive(Serialize, Debug, Clone, PartialEq)]
pub struct FoundTransaction {
    /// Its position in the log.
    pub position: u64,
    /// The account.
    pub account: String,
    /// When it happened.
    pub day: String,
    /// What it was.
    pub text: String,
    /// How much.
    pub amount: Amount,
}

/// Answers [`FindTransactions`].
pub async fn find_transactions(
    query: FindTransactions,
    mut context: QueryContext,
) -> Result<Vec<FoundTransaction>, QueryError> {
    let limit = query.limit.unwrap_or(20).min(1_000) as usize;
    let mut find = || -> Result<Vec<FoundTransaction>, SearchError> {
        let search = searcher(context.tx())?;
        let field = |name: &str| search.field(name);
        let fields =
            [field("position")?, field("account")?, field("day")?, field("text")?, field("hundredths")?];
        let documents = search.search(&query.text, &["text"], limit, 0)?;
        Ok(documents.into_iter().map(|(_, document)| transaction(&document, fields)).collect())
    };
    let name = FindTransactions::NAME;
    find().map_err(|error| match error {
        SearchError::BadQuery { .. } | SearchError::UnknownField { .. } => {
            QueryError::Malformed { query: name, reason: error.to_string() }
        }
        other => QueryError::Failed { query: name, source: other.into() },
    })
}

fn transaction(document: &TantivyDocument, fields: [Field; 5]) -> FoundTransaction {
    let [position, account, day, text, hundredths] = fields;
    let value = |field: Field| document.get_first(field);
    let words = |field: Field| value(field).and_then(|value| value.as_str()).unwrap_or_default().to_owned();
    FoundTransaction {
        position: value(position).and_then(|value| value.as_u64()).unwrap_or_default(),
        account: words(account),
        day: words(day),
        text: words(text),
        amount: Amount::from_hundredths(
            value(hundredths).and_then(|value| value.as_i64()).unwrap_or_default(),
        ),
    }
}
