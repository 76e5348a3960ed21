//! An activity with its history below it (SPEC 6.8, E45). Pure.

use std::collections::HashMap;

use slipstream_core::ids::ActivityId;
use slipstream_service::directory::EcgIndex;
use slipstream_store::ecg::activities::Activity;

use super::parameters::HistoryMode;
use super::view::TreeView;

/// The activity `asked` out of its whole tree, which comes by level and then by creation; none if it is not in it.
pub(super) fn tree(all: Vec<Activity>, asked: ActivityId, mode: HistoryMode, index: &EcgIndex) -> Option<TreeView> {
    let below = descendants(all, asked);
    match mode {
        HistoryMode::Flat => {
            let mut below = below.into_iter();
            let asked = below.next()?;
            let flat = below.map(|it| TreeView::new(it, index, Vec::new())).collect();
            Some(TreeView::new(asked, index, flat))
        }
        HistoryMode::Nested => {
            let mut children: HashMap<ActivityId, Vec<TreeView>> = HashMap::new();
            let mut last = None;
            // The deepest first: whoever comes up has all of its children, the latest in front.
            for activity in below.into_iter().rev() {
                let mut own = children.remove(&activity.id).unwrap_or_default();
                own.reverse();
                let parent = activity.parent.filter(|_| activity.id != asked);
                let view = TreeView::new(activity, index, own);
                match parent {
                    Some(parent) => children.entry(parent).or_default().push(view),
                    None => last = Some(view),
                }
            }
            last
        }
    }
}

/// `asked` and all that is below it, parents before children.
fn descendants(all: Vec<Activity>, asked: ActivityId) -> Vec<Activity> {
    let mut below: Vec<Activity> = Vec::new();
    let mut ids = std::collections::HashSet::new();
    for activity in all {
        if activity.id == asked || activity.parent.is_some_and(|parent| ids.contains(&parent)) {
            ids.insert(activity.id);
            below.push(activity);
        }
    }
    below
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;
    use serde_json::{Value, json};
    use slipstream_core::config::Stamps;
    use slipstream_core::contract::PostKind;
    use slipstream_core::ids::{EventKey, SubscriptionId};
    use slipstream_core::slug::Slug;
    use slipstream_core::timestamp::Timestamp;
    use slipstream_store::ecg::activities::{Dispatch, Json};
    use uuid::Uuid;

    use super::*;

    fn id(number: u128) -> ActivityId {
        ActivityId(Uuid::from_u128(number))
    }

    fn activity(number: u128, parent: Option<u128>, level: u32) -> Activity {
        let at = Timestamp::from_millis(i64::try_from(number).unwrap());
        let raw = |text: &str| Json::from(RawValue::from_string(text.to_owned()).unwrap());
        Activity {
            id: id(number),
            root: id(1),
            parent: parent.map(id),
            level,
            organization: Uuid::nil(),
            subscription: SubscriptionId(Uuid::nil()),
            event: None,
            kind: PostKind::Event,
            dispatch: Dispatch::External,
            delivery: None,
            number: 1,
            replay: None,
            key: EventKey::new(&Slug::of_organization(Uuid::nil()), "/ecg/posts", "1"),
            created_at: at,
            posted_at: None,
            status: None,
            success: None,
            error: None,
            raw_response: None,
            next_retry_at: None,
            hash: None,
            payload: raw("{}"),
            raw_message: raw("{}"),
            stamps: Stamps::new(Uuid::nil(), at),
        }
    }

    /// 1 has 2 and 3; 2 has 4; 3 has 5 and 6; 6 has 7.
    fn all() -> Vec<Activity> {
        let parents = [
            (1, None, 1),
            (2, Some(1), 2),
            (3, Some(1), 2),
            (4, Some(2), 3),
            (5, Some(3), 3),
            (6, Some(3), 3),
            (7, Some(6), 4),
        ];
        parents.map(|(number, parent, level)| activity(number, parent, level)).into()
    }

    /// Numbers of a view and of what is below it.
    fn shape(view: &Value) -> Value {
        let id: Uuid = view["id"].as_str().unwrap().parse().unwrap();
        let below: Vec<Value> = view["childPostHistory"].as_array().unwrap().iter().map(shape).collect();
        json!([id.as_u128() as u64, view["level"], below])
    }

    fn shown(asked: u128, mode: HistoryMode) -> Option<Value> {
        let view = tree(all(), id(asked), mode, &EcgIndex::default());
        view.map(|view| shape(&serde_json::to_value(view).unwrap()))
    }

    #[test]
    fn nested_has_each_child_below_its_parent_in_the_order_of_creation() {
        let expected = json!([1, 1, [[2, 2, [[4, 3, []]]], [3, 2, [[5, 3, []], [6, 3, [[7, 4, []]]]]]]]);
        assert_eq!(shown(1, HistoryMode::Nested), Some(expected));
    }

    #[test]
    fn flat_has_all_descendants_in_one_list_by_level() {
        let expected = json!([1, 1, [[2, 2, []], [3, 2, []], [4, 3, []], [5, 3, []], [6, 3, []], [7, 4, []]]]);
        assert_eq!(shown(1, HistoryMode::Flat), Some(expected));
    }

    #[test]
    fn one_within_the_tree_has_its_own_level_and_what_is_below_it() {
        assert_eq!(shown(3, HistoryMode::Nested), Some(json!([3, 2, [[5, 3, []], [6, 3, [[7, 4, []]]]]])));
        assert_eq!(shown(3, HistoryMode::Flat), Some(json!([3, 2, [[5, 3, []], [6, 3, []], [7, 4, []]]])));
        assert_eq!(shown(7, HistoryMode::Flat), Some(json!([7, 4, []])));
        assert_eq!(shown(8, HistoryMode::Nested), None);
    }
}
