//! What came of a post that somebody else made (SPEC 6.8, E44).

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use serde_json::Value;
use serde_json::value::RawValue;
use slipstream_core::contract::PostKind;
use slipstream_core::ecg::{DEVELOPMENT_ATTEMPTS_MAX, canonical};
use slipstream_core::ids::ActivityId;
use slipstream_core::problem::{Problem, ProblemKind};
use slipstream_core::retry::RetrySchedule;
use slipstream_core::timestamp::Timestamp;
use slipstream_service::ecg::body::{self, Raw, wrong};
use slipstream_service::ecg::{AtOrganization, path_id, uuid};
use slipstream_service::openapi::{Conflict, NotFound, TooLarge, Unprocessable};
use slipstream_service::{ApiError, clock};
use slipstream_store::StoreError;
use slipstream_store::ecg::activities::{self, Activity, Dispatch, OutcomeOfPost};
use utoipa::ToSchema;
use uuid::Uuid;

use super::history::no_activity;
use super::view::ActivityView;
use super::{ActivityInPath, Shared, SharedState};
use crate::database::ask;
use crate::replay::conflict;

/// Bytes of `error`.
const ERROR_BYTES_MAX: usize = 16 * 1024;

/// What came of a post.
#[derive(Debug, ToSchema)]
#[schema(as = OutcomeIn, rename_all = "camelCase")]
#[expect(dead_code, reason = "documents take its fields' names and rules; `Told` reads the body")]
pub(super) struct OutcomeIn {
    /// The activity, or the root of its tree.
    #[schema(value_type = String, format = "uuid")]
    original_activity_id: Uuid,
    /// May be a string.
    success: bool,
    /// 100 to 599, or 0 where there was no answer. May be a string.
    #[schema(maximum = 599)]
    http_status_code: u16,
    /// May be empty.
    #[schema(max_length = 16384)]
    error: String,
    /// What it was answered with.
    raw_response: Value,
}

/// What is told, read.
#[derive(Debug, Clone)]
struct Told {
    original: ActivityId,
    success: bool,
    /// None where there was no answer.
    status: Option<u16>,
    error: String,
    raw_response: Box<RawValue>,
}

impl Told {
    fn read(mut body: Raw) -> Result<Self, Problem> {
        let original: String = body.required("originalActivityId")?;
        let original = uuid(&original).ok_or_else(|| wrong("originalActivityId", "must be a UUID"))?;
        let success = boolean(&body.required("success")?).ok_or_else(|| wrong("success", "must be true or false"))?;
        let rule = || wrong("httpStatusCode", "must be a number from 100 to 599, or 0 where there was no answer");
        let status = number(&body.required("httpStatusCode")?);
        let status = status.filter(|status| *status == 0 || (100..=599).contains(status)).ok_or_else(rule)?;
        let error: String = body.required("error")?;
        if error.len() > ERROR_BYTES_MAX || error.contains('\0') {
            return Err(wrong("error", format!("must have at most {ERROR_BYTES_MAX} bytes and no NUL")));
        }
        let raw_response = body.value("rawResponse")?;
        let raw_response =
            canonical(&raw_response).map_err(|error| wrong("rawResponse", format!("is not valid: {error}")))?;
        let status = Some(status).filter(|status| *status != 0);
        Ok(Self { original: ActivityId(original), success, status, error, raw_response })
    }

    /// Whether just this is known already.
    fn is_known(&self, activity: &Activity) -> bool {
        let raw_response = activity.raw_response.as_deref().map_or("null", RawValue::get);
        activity.success == Some(self.success)
            && activity.status == self.status
            && activity.error.as_deref().unwrap_or_default() == self.error
            && raw_response == self.raw_response.get()
    }
}

/// A boolean, or its text: the documented example has a string.
fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(value) => Some(*value),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// A whole number, or its text.
fn number(value: &Value) -> Option<u16> {
    match value {
        Value::Number(number) => u16::try_from(number.as_u64()?).ok(),
        Value::String(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    }
}

/// What is to be done about it.
#[derive(Debug)]
enum Decision {
    /// It is written down.
    Note,
    /// It was told before.
    Known,
}

/// Whether it can be told of this activity.
///
/// # Errors
/// 422 when it is meant for another; 409 when something else is known, or will be.
fn decide(activity: &Activity, told: &Told) -> Result<Decision, Problem> {
    if told.original != activity.id && told.original != activity.root {
        let detail = "originalActivityId must be the activity, or the root of its tree";
        return Err(Problem::new(ProblemKind::Unprocessable, detail));
    }
    match (activity.success, activity.dispatch) {
        (None, Dispatch::External) => Ok(Decision::Note),
        (None, Dispatch::Platform) => {
            Err(conflict("the platform posts this activity, and notes itself what comes of it"))
        }
        (Some(_), _) if told.is_known(activity) => Ok(Decision::Known),
        (Some(_), _) => Err(conflict("another outcome of this activity is known")),
    }
}

/// When a failed activity should be posted again: as we would do it (SPEC 4.3), without chance.
fn advice(schedule: &RetrySchedule, activity: &Activity, is_development: bool, now: Timestamp) -> Option<Timestamp> {
    let attempts = if is_development { DEVELOPMENT_ATTEMPTS_MAX } else { schedule.attempts() };
    let next = activity.level.checked_add(1).filter(|next| *next <= attempts && activity.kind == PostKind::Event)?;
    let delay: Duration = schedule.delay_before(next, 0.0, None)?;
    Some(now.after(delay))
}

/// E44.
#[utoipa::path(
    post,
    path = "/api/organizations/{organizationId}/webhook-subscriptions/{subscriptionId}/activity/{activityId}/outcomes",
    tag = "Activities",
    operation_id = "tellOutcome",
    summary = "Tell what came of a post that the caller has made",
    params(ActivityInPath),
    request_body = OutcomeIn,
    responses(
        (status = 201, description = "The activity.", body = ActivityView),
        NotFound,
        Conflict,
        TooLarge,
        Unprocessable,
    )
)]
pub(super) async fn tell(
    State(state): State<SharedState>,
    at: AtOrganization,
    Path((_, subscription, activity)): Path<(String, String, String)>,
    request: Request,
) -> Result<(StatusCode, Json<ActivityView>), ApiError> {
    let (subscription, id) = (path_id(&subscription, "subscriptionId")?, path_id(&activity, "activityId")?);
    let told = Told::read(body::raw(request, state.body_timeout).await?)?;
    let living = state.known.living(&at, subscription, None).await?;
    state.activity(subscription, id).await?;
    let is_development = living.subscription.is_development;
    let activity = state.note_outcome(id, &told, (at.caller, is_development)).await?;
    if activity.success == Some(true) {
        state.poster.take_back_others(&[activity.id]).await;
    }
    Ok((StatusCode::CREATED, Json(state.view(activity))))
}

impl Shared {
    /// Writes an outcome down, and gives the activity as it is then.
    async fn note_outcome(
        &self,
        id: ActivityId,
        told: &Told,
        (by, is_development): (Uuid, bool),
    ) -> Result<Activity, ApiError> {
        let noted = ask(async {
            let tx = self.store.begin().await?;
            let Some(activity) = activities::lock(&tx, id).await? else { return Ok(None) };
            match decide(&activity, told) {
                Err(problem) => return Ok(Some(Err(problem))),
                Ok(Decision::Known) => return Ok(Some(Ok(activity))),
                Ok(Decision::Note) => {}
            }
            let now = clock::now();
            let next_retry_at = if told.success || activities::has_succeeded(&tx, activity.root).await? {
                None
            } else {
                advice(&self.schedule, &activity, is_development, now)
            };
            let outcome = OutcomeOfPost {
                success: told.success,
                status: told.status,
                // An empty one says that there was none, as null does in posts of ours.
                error: Some(told.error.clone()).filter(|text| !text.is_empty()),
                raw_response: Some(told.raw_response.clone()),
                next_retry_at,
                at: now,
                by,
            };
            activities::set_outcome(&tx, id, &outcome).await?;
            let activity = activities::get(&tx, id).await?;
            tx.commit().await.map_err(StoreError::from)?;
            Ok(activity.map(Ok))
        });
        Ok(noted.await?.ok_or_else(no_activity)??)
    }
}

#[cfg(test)]
mod tests {
    use slipstream_core::config::Stamps;
    use slipstream_core::ids::{EventKey, SubscriptionId};
    use slipstream_core::slug::Slug;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_660_816_984_086);
    const ID: &str = "bdf40000-0000-7000-8000-000000000002";
    const ROOT: &str = "bdf40000-0000-7000-8000-000000000001";

    fn read(json: &str) -> Result<Told, Problem> {
        Told::read(Raw::read(json.as_bytes()).unwrap())
    }

    fn told(of: &str, success: &str, status: &str) -> Result<Told, Problem> {
        read(&format!(
            r#"{{"originalActivityId":"{of}","success":{success},"httpStatusCode":{status},"error":"","rawResponse":{{ "a" : 1.50 }}}}"#
        ))
    }

    /// A child that somebody else has posted.
    fn activity() -> Activity {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let root = ActivityId(ROOT.parse().unwrap());
        Activity {
            id: ActivityId(ID.parse().unwrap()),
            root,
            parent: Some(root),
            level: 2,
            organization: Uuid::nil(),
            subscription: SubscriptionId(Uuid::nil()),
            event: None,
            kind: PostKind::Event,
            dispatch: Dispatch::External,
            delivery: None,
            number: 1,
            replay: None,
            key: EventKey::new(&Slug::of_organization(Uuid::nil()), "/ecg/posts", "1"),
            created_at: NOW,
            posted_at: None,
            status: None,
            success: None,
            error: None,
            raw_response: None,
            next_retry_at: None,
            hash: None,
            payload: raw("{}").into(),
            raw_message: raw("{}").into(),
            stamps: Stamps::new(Uuid::nil(), NOW),
        }
    }

    #[test]
    fn texts_of_booleans_and_numbers_are_taken() {
        for (success, status) in [("true", "200"), ("\"true\"", "\"200\""), ("\"True\"", "\"0200\"")] {
            let told = told(ID, success, status).unwrap();
            assert_eq!((told.success, told.status, told.raw_response.get()), (true, Some(200), r#"{"a":1.50}"#));
        }
        assert_eq!(told(ID, "false", "0").unwrap().status, None);
        for (success, status) in [
            ("1", "200"),
            ("\"yes\"", "200"),
            ("null", "200"),
            ("true", "200.0"),
            ("true", "99"),
            ("true", "600"),
            ("true", "-1"),
            ("true", "\"\""),
            ("true", "\"+200\""),
            ("true", "\"200 OK\""),
            ("true", "null"),
            ("true", "70000"),
        ] {
            assert_eq!(told(ID, success, status).unwrap_err().kind, ProblemKind::BadRequest, "{success} {status}");
        }
    }

    #[test]
    fn every_member_is_required_and_an_answer_may_be_null() {
        let full = [
            ("originalActivityId", format!("\"{ID}\"")),
            ("success", "true".to_owned()),
            ("httpStatusCode", "200".to_owned()),
            ("error", "\"\"".to_owned()),
            ("rawResponse", "null".to_owned()),
        ];
        let without = |left_out: &str| {
            let members = full.iter().filter(|(name, _)| *name != left_out);
            let members: Vec<_> = members.map(|(name, value)| format!("\"{name}\":{value}")).collect();
            read(&format!("{{{}}}", members.join(",")))
        };
        assert_eq!(without("").unwrap().raw_response.get(), "null");
        for (name, _) in &full {
            assert_eq!(without(name).unwrap_err().errors[0].pointer, format!("#/{name}"));
        }
    }

    #[test]
    fn an_outcome_is_for_the_activity_or_the_root_of_its_tree() {
        for of in [ID, ROOT] {
            assert!(matches!(decide(&activity(), &told(of, "true", "200").unwrap()), Ok(Decision::Note)));
        }
        let other = told("bdf40000-0000-7000-8000-000000000003", "true", "200").unwrap();
        assert_eq!(decide(&activity(), &other).unwrap_err().kind, ProblemKind::Unprocessable);
    }

    #[test]
    fn what_is_known_may_be_told_again_and_nothing_else() {
        let known = Activity {
            success: Some(false),
            status: Some(503),
            error: Some(String::new()),
            raw_response: Some(RawValue::from_string(r#"{"a":1.50}"#.to_owned()).unwrap()),
            ..activity()
        };
        for dispatch in [Dispatch::External, Dispatch::Platform] {
            let known = Activity { dispatch, ..known.clone() };
            assert!(matches!(decide(&known, &told(ID, "false", "503").unwrap()), Ok(Decision::Known)));
            for other in [told(ID, "true", "503"), told(ID, "false", "500"), told(ID, "false", "0")] {
                assert_eq!(decide(&known, &other.unwrap()).unwrap_err().kind, ProblemKind::Conflict);
            }
            let error = Told { error: "busy".to_owned(), ..told(ID, "false", "503").unwrap() };
            assert_eq!(decide(&known, &error).unwrap_err().kind, ProblemKind::Conflict);
        }
        let pending = Activity { dispatch: Dispatch::Platform, ..activity() };
        assert_eq!(decide(&pending, &told(ID, "true", "200").unwrap()).unwrap_err().kind, ProblemKind::Conflict);
    }

    #[test]
    fn the_next_retry_is_advised_by_level_and_ends() {
        let advised = |schedule: &[u64], level, is_development| {
            let schedule = RetrySchedule::try_from(schedule.to_vec()).unwrap();
            advice(&schedule, &Activity { level, ..activity() }, is_development, NOW)
        };
        let usual: Vec<u64> = RetrySchedule::default().into();
        let at = |level, is_development| advised(&usual, level, is_development);
        let after = |seconds| Some(NOW.after(Duration::from_secs(seconds)));
        assert_eq!([at(1, false), at(2, false), at(9, false)], [after(5), after(300), after(24 * 3600)]);
        assert_eq!([at(10, false), at(30, false)], [None, None]);
        assert_eq!([at(1, true), at(2, true), at(3, true)], [after(5), after(300), None]);
        // As it is configured.
        let at = |level, is_development| advised(&[0, 7000, 9000, 11_000], level, is_development);
        assert_eq!([at(1, false), at(3, false), at(4, false)], [after(7), after(11), None]);
        assert_eq!([at(2, true), at(3, true)], [after(9), None]);
        let activation = Activity { kind: PostKind::Activation, ..activity() };
        assert_eq!(advice(&RetrySchedule::default(), &activation, false, NOW), None);
    }
}
