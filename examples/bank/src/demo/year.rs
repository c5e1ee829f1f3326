//! A year at a bank, made up: always the same for the same seed.

use annals::Timestamp;
use jiff::civil::Date;

use crate::account::{AccountCommand, OtherAccount, WithdrawalMethod};
use crate::money::Amount;
use crate::month::start_of;

/// How many accounts there are.
pub(super) const ACCOUNTS: u64 = 1_000;
/// How many transactions each has in the year.
pub(super) const TRANSACTIONS_EACH: u64 = 100;
/// The year.
const YEAR: i16 = 2025;

const FIRST_NAMES: [&str; 16] = [
    "Ada", "Alan", "Barbara", "Dennis", "Edsger", "Frances", "Grace", "Hedy", "John", "Karel", "Leslie",
    "Margaret", "Niklaus", "Radia", "Tony", "Vint",
];
const LAST_NAMES: [&str; 16] = [
    "Dvořák",
    "Fiala",
    "Horák",
    "Jelínek",
    "Kolář",
    "Krejčí",
    "Kučera",
    "Marek",
    "Němec",
    "Novák",
    "Pokorný",
    "Růžička",
    "Svoboda",
    "Urban",
    "Veselý",
    "Zeman",
];

/// A small generator of pseudo-random numbers (SplitMix64, Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn between(&mut self, low: i64, high: i64) -> i64 {
        low + (self.next() % (high - low + 1) as u64) as i64
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.next() as usize % from.len()]
    }
}

/// A command on a day.
pub(super) struct Planned {
    pub(super) command: AccountCommand,
    pub(super) occurred_at: Timestamp,
}

/// What happens on one account in the year, in order: its opening, then its transactions.
pub(super) fn plan(seed: u64, account: u64) -> Vec<Planned> {
    let mut random = Random(seed ^ account.wrapping_mul(0xD6E8_FEB8_6659_FD93));
    let owner = format!("{} {}", random.pick(&FIRST_NAMES), random.pick(&LAST_NAMES));
    let limit = Amount::from_hundredths(random.between(0, 4) * 500_000);
    let mut year = Year { balance: 0, limit: limit.hundredths(), days: Vec::new() };
    let opening = AccountCommand::OpenAccount { owner, currency: Default::default(), overdraft_limit: limit };
    year.on(1, 1, opening, 0);
    year.live(&mut random);
    year.days
}

/// A year on an account as it is made up, with the balance that its commands lead to.
struct Year {
    balance: i64,
    limit: i64,
    days: Vec<Planned>,
}

impl Year {
    fn on(&mut self, month: i8, day: i8, command: AccountCommand, change: i64) {
        let date = Date::new(YEAR, month, day).unwrap_or(Date::constant(YEAR, 1, 1));
        self.days.push(Planned { command, occurred_at: start_of(date) });
        self.balance += change;
    }

    fn live(&mut self, random: &mut Random) {
        let salary = random.between(18_000, 65_000) * 100;
        let rent = salary / 3;
        let employer = OtherAccount {
            bank: "KB".to_owned(),
            account: random.between(10_000_000, 99_999_999).to_string(),
        };
        let landlord = OtherAccount {
            bank: "CS".to_owned(),
            account: random.between(10_000_000, 99_999_999).to_string(),
        };
        let first = random.between(5_000, 30_000) * 100;
        self.on(
            1,
            2,
            AccountCommand::DepositMoney { amount: Amount::from_hundredths(first), currency: None },
            first,
        );
        let mut left = TRANSACTIONS_EACH as i64 - 1;
        for month in 1..=12_i8 {
            // Each month has its share of what is left, the last month all of it.
            let count = left / i64::from(13 - month);
            left -= count;
            let purpose = Some("salary".to_owned());
            let amount = Amount::from_hundredths(salary);
            self.on(
                month,
                3,
                AccountCommand::ReceiveTransfer { amount, from: employer.clone(), purpose, currency: None },
                salary,
            );
            let purpose = Some("rent".to_owned());
            let amount = Amount::from_hundredths(rent);
            self.on(
                month,
                5,
                AccountCommand::SendTransfer { amount, to: landlord.clone(), purpose, currency: None },
                -rent,
            );
            let mut days: Vec<i8> = (0..count - 4).map(|_| random.between(6, 27) as i8).collect();
            days.sort_unstable();
            days.iter().for_each(|day| self.shop(month, *day, random));
            self.month_end(month);
        }
    }

    /// Something is bought or drawn, as far as there is money; else something comes in.
    fn shop(&mut self, month: i8, day: i8, random: &mut Random) {
        let wanted = random.between(80, 4_500) * 100 + random.between(0, 99);
        let amount = Amount::from_hundredths(wanted);
        if wanted > self.balance + self.limit {
            self.on(month, day, AccountCommand::DepositMoney { amount, currency: None }, wanted);
            return;
        }
        let method = if random.between(0, 2) == 0 { WithdrawalMethod::Cash } else { WithdrawalMethod::Card };
        self.on(month, day, AccountCommand::WithdrawMoney { amount, currency: None, method }, -wanted);
    }

    /// The bank pays or takes interest, and takes its fee.
    fn month_end(&mut self, month: i8) {
        let interest = (self.balance.abs() / 600).max(1);
        let amount = Amount::from_hundredths(interest);
        if self.balance >= 0 {
            self.on(month, 28, AccountCommand::CreditInterest { amount }, interest);
        } else {
            self.on(month, 28, AccountCommand::ChargePenaltyInterest { amount }, -interest);
        }
        let fee = 1_460;
        let reason = Some("statement".to_owned());
        self.on(month, 28, AccountCommand::ChargeFee { amount: Amount::from_hundredths(fee), reason }, -fee);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Account;
    use annals::{Aggregate, Context, Principal, Version};

    #[test]
    fn a_year_is_always_the_same_and_the_bank_agrees_to_all_of_it() {
        for number in [1, 17, 999] {
            let planned = plan(1, number);
            assert_eq!(planned.len() as u64, 1 + TRANSACTIONS_EACH);
            let again = plan(1, number);
            assert!(planned.iter().zip(&again).all(|(a, b)| a.command == b.command));
            assert!(planned.is_sorted_by_key(|planned| planned.occurred_at));
            let mut account = Account::default();
            for (version, Planned { command, occurred_at }) in (0..).zip(planned) {
                let (id, version) = (number.to_string(), Version::new(version));
                let context = Context { id, version, occurred_at, principal: Principal::anonymous() };
                let events = account.handle(&command, &context).unwrap();
                events.iter().for_each(|event| account.apply(event));
            }
            assert_eq!(account.transactions, TRANSACTIONS_EACH);
        }
    }
}
