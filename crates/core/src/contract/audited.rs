//! Who did what, and when (THREATS 9): the messages of the audit.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::ids::AuditId;
use crate::slug::Slug;
use crate::timestamp::Timestamp;

/// The longest text of a record that somebody else chose, in characters.
pub const AUDIT_TEXT_LEN_MAX: usize = 256;

/// Subject `audited.{service}`: a secret or a payload was read, or something was changed.
///
/// What changes something leaves two records: one that it was begun, durable before anything is done, and one of how it
/// ended. A beginning without an end says that it is not known whether it was done: somebody has to look. What reads
/// leaves one, durable before anything is shown. What happens to an endpoint without anybody's credential leaves one too,
/// noted in the very transaction that it happens in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audited {
    /// This record; its id on the bus, too, so that a repeat is recorded once.
    pub id: AuditId,
    /// When.
    pub at: Timestamp,
    /// Who: `operator`, `account:{uuid}`, `token:{issuer}/{subject}` or `practice:{name}/{key}` by a credential; an
    /// [`Unasked`] without.
    pub actor: String,
    /// What.
    pub action: Action,
    /// To what kind of thing.
    pub kind: TargetKind,
    /// To which one, where that is known: what is created has no id before it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Whose site, where it is of one; of the ECG surface the organization, as
    /// [`Slug::of_organization`](crate::slug::Slug::of_organization) names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<Slug>,
    /// The trace of the request, if there was one: 32 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// How it went.
    pub outcome: AuditOutcome,
    /// The status of the answer; none while it is only begun, nor of what nobody is answered about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Of an end: the record of its beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<AuditId>,
}

/// Declares a closed set of names.
macro_rules! names {
    ($(#[$doc:meta])* $set:ident: $($(#[$member_doc:meta])* $member:ident = $name:literal),+ $(,)?) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $set {
            $($(#[$member_doc])* #[serde(rename = $name)] $member),+
        }

        impl $set {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$member),+];

            /// The name, as in messages, tables and parameters.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$member => $name),+
                }
            }

            /// The member of this name.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|it| it.as_str() == name)
            }
        }
    };
}

names! {
    /// What was done.
    Action:
    /// An organisation was made or changed.
    OrganisationPut = "organisation.put",
    /// A site was made or changed.
    SitePut = "site.put",
    /// An account was made; its keys were shown.
    AccountCreate = "account.create",
    /// One of an account's keys was replaced and shown.
    AccountRotateKey = "account.rotate-key",
    /// An account was changed: its name, kind, sites or permissions.
    AccountPut = "account.put",
    /// An account was deleted; its keys let nobody in any more.
    AccountDelete = "account.delete",
    /// An account's quota was set or lifted.
    AccountSetQuota = "account.set-quota",
    /// A subscription was made or replaced.
    SubscriptionPut = "subscription.put",
    /// A subscription was removed.
    SubscriptionDelete = "subscription.delete",
    /// An endpoint was switched on.
    EndpointEnable = "endpoint.enable",
    /// An endpoint was switched off: by an operator, by its receiver (410), or because it did nothing but fail for days.
    EndpointDisable = "endpoint.disable",
    /// An endpoint's limits were set.
    EndpointLimit = "endpoint.limit",
    /// The receiver agreed to be called, or to other terms: when it was asked, or with a callback key.
    ConsentGrant = "consent.grant",
    /// An endpoint's signing keys were shown.
    SecretRead = "secret.read",
    /// An endpoint's signing key was replaced; its keys were shown.
    SecretRotate = "secret.rotate",
    /// A signing key was revoked.
    SecretRevoke = "secret.revoke",
    /// What an endpoint answered was shown.
    DeliveryRead = "delivery.read",
    /// A delivery that waits was moved.
    DeliveryReschedule = "delivery.reschedule",
    /// A delivery that waits was let go at once.
    DeliveryDeliverNow = "delivery.deliver-now",
    /// A delivery that waits was cancelled.
    DeliveryCancel = "delivery.cancel",
    /// A delivery was made again.
    DeliveryReplay = "delivery.replay",
    /// An event was delivered to a subscription once more.
    EventReplay = "event.replay",
    /// Why an event was or was not delivered was shown, with what the endpoint answered.
    EventExplain = "event.explain",
    /// The times of a scheduled event were changed.
    EventReschedule = "event.reschedule",
    /// A scheduled event was let come due.
    EventDeliverNow = "event.deliver-now",
    /// A scheduled event was cancelled.
    EventCancel = "event.cancel",
    /// Many deliveries were made again, or counted for that.
    ReplayStart = "replay.start",
    /// A replay job was paused.
    ReplayPause = "replay.pause",
    /// A replay job was resumed.
    ReplayResume = "replay.resume",
    /// A replay job was cancelled.
    ReplayCancel = "replay.cancel",
    /// Every data key was wrapped by another master key.
    MasterKeyRotate = "master-key.rotate",
    /// A category of webhook events was made.
    EcgCategoryCreate = "ecg-category.create",
    /// A category of webhook events was changed.
    EcgCategoryUpdate = "ecg-category.update",
    /// A category of webhook events was deleted.
    EcgCategoryDelete = "ecg-category.delete",
    /// A category of webhook events was put away.
    EcgCategoryArchive = "ecg-category.archive",
    /// A category of webhook events was brought back.
    EcgCategoryRestore = "ecg-category.restore",
    /// A category of webhook events was switched on.
    EcgCategoryActivate = "ecg-category.activate",
    /// A category of webhook events was switched off.
    EcgCategoryDeactivate = "ecg-category.deactivate",
    /// A kind of webhook event was made.
    EcgEventCreate = "ecg-event.create",
    /// A kind of webhook event was changed.
    EcgEventUpdate = "ecg-event.update",
    /// A kind of webhook event was deleted.
    EcgEventDelete = "ecg-event.delete",
    /// A kind of webhook event was put away.
    EcgEventArchive = "ecg-event.archive",
    /// A kind of webhook event was brought back.
    EcgEventRestore = "ecg-event.restore",
    /// A kind of webhook event was switched on.
    EcgEventActivate = "ecg-event.activate",
    /// A kind of webhook event was switched off.
    EcgEventDeactivate = "ecg-event.deactivate",
    /// A sample payload of a kind of webhook event was made.
    EcgSampleCreate = "ecg-sample.create",
    /// A sample payload of a kind of webhook event was changed.
    EcgSampleUpdate = "ecg-sample.update",
    /// A sample payload of a kind of webhook event was deleted.
    EcgSampleDelete = "ecg-sample.delete",
    /// An ECG subscription was made; its secret was shown.
    EcgSubscriptionCreate = "ecg-subscription.create",
    /// An ECG subscription was shown, with its secret.
    EcgSubscriptionRead = "ecg-subscription.read",
    /// ECG subscriptions of an organization were shown, with their secrets.
    EcgSubscriptionList = "ecg-subscription.list",
    /// An ECG subscription was changed; its secret was shown.
    EcgSubscriptionUpdate = "ecg-subscription.update",
    /// An ECG subscription was deleted.
    EcgSubscriptionDelete = "ecg-subscription.delete",
    /// An ECG subscription was put away.
    EcgSubscriptionArchive = "ecg-subscription.archive",
    /// An ECG subscription was brought back.
    EcgSubscriptionRestore = "ecg-subscription.restore",
    /// An ECG subscription was switched on.
    EcgSubscriptionActivate = "ecg-subscription.activate",
    /// An ECG subscription was switched off.
    EcgSubscriptionDeactivate = "ecg-subscription.deactivate",
    /// A kind of event was taken out of an ECG subscription.
    EcgSubscriptionRemoveEvent = "ecg-subscription.remove-event",
    /// A secret of an ECG subscription was shown.
    EcgSecretRead = "ecg-secret.read",
    /// The secrets that an ECG subscription has had were shown.
    EcgSecretList = "ecg-secret.list",
    /// An ECG subscription's secret was replaced by one of ours.
    EcgSecretRotate = "ecg-secret.rotate",
    /// An ECG subscription's secret was replaced by a given one, and shown.
    EcgSecretSet = "ecg-secret.set",
    /// Posts of activations were shown, with what the endpoint answered.
    ActivationList = "activation.list",
    /// A post of an activation was shown, with what the endpoint answered.
    ActivationRead = "activation.read",
    /// Posts were shown, with their payloads and what the endpoint answered.
    ActivityList = "activity.list",
    /// A post and its retries were shown, with payload and what the endpoint answered.
    ActivityRead = "activity.read",
    /// A post was made or recorded.
    ActivityCreate = "activity.create",
    /// A post that failed was made again.
    ActivityRetry = "activity.retry",
    /// What became of a post that somebody else made was recorded.
    ActivityConclude = "activity.conclude",
    /// A payload was made and hashed for somebody else to post.
    ActivitySign = "activity.sign",
}

names! {
    /// To what it was done.
    TargetKind:
    /// By its slug.
    Organisation = "organisation",
    /// By its slug.
    Site = "site",
    /// By its id.
    Account = "account",
    /// The endpoint of a subscription, by the subscription's id.
    Endpoint = "endpoint",
    /// By its id.
    Delivery = "delivery",
    /// By its key.
    Event = "event",
    /// A replay job, by its id.
    Replay = "replay",
    /// A master key, by its id; the one that takes over.
    MasterKey = "master-key",
    /// A category of webhook events, by its id.
    EcgCategory = "ecg-category",
    /// A kind of webhook event, by its id.
    EcgEvent = "ecg-event",
    /// A post to an ECG subscription, by its id.
    Activity = "activity",
}

names! {
    /// Who does what nobody asks for with a credential.
    Unasked:
    /// Slipstream itself, by what it has seen of an endpoint.
    System = "system",
    /// Whoever receives webhooks: by what it answered, or with the callback key that it was sent.
    Receiver = "receiver",
    /// Whoever runs a command beside the settings and the secrets of the deployment.
    Command = "command",
}

names! {
    /// How it went.
    AuditOutcome:
    /// It is about to be done. What follows is a record of the end.
    Begun = "begun",
    /// It was done.
    Done = "done",
    /// It was not done, for a reason of whoever asked (4xx).
    Refused = "refused",
    /// It failed on our side (5xx): it may have been done or not.
    Failed = "failed",
}

/// `text` as a record holds it: cut to [`AUDIT_TEXT_LEN_MAX`] characters, without control characters (a NUL, for one,
/// cannot be stored everywhere).
pub fn audit_text(text: &str) -> String {
    let shown = |character: char| if character.is_control() { char::REPLACEMENT_CHARACTER } else { character };
    text.chars().take(AUDIT_TEXT_LEN_MAX).map(shown).collect()
}

/// What a record says, as the chain covers it: names as text, so that a reader of any release can check it.
#[derive(Debug, Clone, Copy)]
pub struct AuditLink<'a> {
    /// The number of the record, from 1.
    pub number: u64,
    /// As in [`Audited`], like all that follow.
    pub id: AuditId,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: &'a str,
    /// What.
    pub action: &'a str,
    /// To what kind of thing.
    pub kind: &'a str,
    /// To which one.
    pub target: Option<&'a str>,
    /// Whose site.
    pub site: Option<&'a str>,
    /// The trace of the request.
    pub trace: Option<&'a str>,
    /// How it went.
    pub outcome: &'a str,
    /// The status of the answer.
    pub status: Option<u16>,
    /// The record of its beginning.
    pub begun: Option<AuditId>,
}

impl AuditLink<'_> {
    /// The hash that a record is kept with, `previous` being that of the record before it (all zero for the first):
    /// SHA-256 over that hash and everything the record says. Whoever changes, drops or inserts a record would have to
    /// change the hashes of all that follow.
    pub fn hash(&self, previous: &[u8; 32]) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(b"slipstream audit 1");
        hash.update(previous);
        hash.update(self.number.to_be_bytes());
        hash.update(self.id.0.as_bytes());
        hash.update(self.at.as_millis().to_be_bytes());
        let (status, begun) = (self.status.map(|it| it.to_string()), self.begun.map(|it| it.to_string()));
        for part in [
            Some(self.actor),
            Some(self.action),
            Some(self.kind),
            self.target,
            self.site,
            self.trace,
            Some(self.outcome),
            status.as_deref(),
            begun.as_deref(),
        ] {
            // Each part is preceded by its length, and one that is missing by a length that none has, so that no two
            // records have the same bytes.
            hash.update(part.map_or(u64::MAX, |text| text.len() as u64).to_be_bytes());
            hash.update(part.unwrap_or_default().as_bytes());
        }
        hash.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart_and_come_back() {
        for action in Action::ALL {
            assert_eq!(Action::from_name(action.as_str()), Some(*action));
            assert_eq!(serde_json::to_value(action).unwrap(), action.as_str());
        }
        assert_eq!(Action::from_name("endpoint.explode"), None);
        assert_eq!(Unasked::ALL.iter().map(|it| it.as_str()).collect::<Vec<_>>(), ["system", "receiver", "command"]);
    }

    #[test]
    fn texts_of_strangers_are_cut_and_hold_no_control_characters() {
        assert_eq!(audit_text("a\0b\nc"), "a\u{fffd}b\u{fffd}c");
        assert_eq!(audit_text(&"é".repeat(1000)).chars().count(), AUDIT_TEXT_LEN_MAX);
    }

    #[test]
    fn everything_a_record_says_is_in_its_hash() {
        let id = |number| AuditId(uuid::Uuid::from_u128(number));
        let link = AuditLink {
            number: 1,
            id: id(1),
            at: Timestamp::from_millis(1),
            actor: "operator",
            action: "endpoint.disable",
            kind: "endpoint",
            target: Some("a"),
            site: None,
            trace: None,
            outcome: "done",
            status: Some(200),
            begun: None,
        };
        let links = [
            link,
            AuditLink { number: 2, ..link },
            AuditLink { id: id(2), ..link },
            AuditLink { at: Timestamp::from_millis(2), ..link },
            AuditLink { actor: "operato", action: "rendpoint.disable", ..link },
            AuditLink { kind: "site", ..link },
            AuditLink { target: None, ..link },
            AuditLink { target: Some(""), ..link },
            AuditLink { target: None, site: Some("a"), ..link },
            AuditLink { trace: Some(""), ..link },
            AuditLink { outcome: "refused", ..link },
            AuditLink { status: None, ..link },
            AuditLink { begun: Some(id(1)), ..link },
        ];
        let mut hashes: Vec<_> = links.iter().map(|link| link.hash(&[0; 32])).collect();
        hashes.push(link.hash(&[1; 32]));
        let all = hashes.len();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), all);
    }
}
