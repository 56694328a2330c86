//! The `retention` of a pipeline as a policy.

use crate::config::model::RetentionConfig;
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_engine::retention::{GuardLimits, Limit, Period, Policy, Span, guard, zone_named};

/// The policy `retention` asks for.
///
/// # Errors
/// The first thing wrong with it.
pub(crate) fn policy(retention: &RetentionConfig) -> Result<Policy> {
    match read(retention) {
        Ok(policy) => Ok(policy),
        Err((_, message)) => Err(Error::new(ErrorKind::Invalid, "config", message)),
    }
}

/// What the guard lets pass; never the last snapshots of a group.
pub(crate) fn limits(retention: &RetentionConfig) -> GuardLimits {
    let share = retention.allow_share.unwrap_or(guard::SHARE_PERCENT_DEFAULT);
    GuardLimits { share_percent_max: Some(share), ..GuardLimits::default() }
}

/// The policy, or the key that is wrong and why; no key for the whole.
pub(super) fn read(retention: &RetentionConfig) -> Result<Policy, (Option<&'static str>, String)> {
    let mut policy = match retention.policy.as_deref() {
        None => Policy::default(),
        Some("guide") => Policy::guide(),
        Some(_) => return Err((Some("policy"), "the one policy with a name is guide".to_owned())),
    };
    let span = |key: &'static str, text: &Option<String>| {
        let span = text.as_deref().map(Span::parse).transpose();
        span.map_err(|error| (Some(key), error.to_string()))
    };
    for (period, count, key, within) in [
        (Period::Hour, retention.keep_hourly, "keep_within_hourly", &retention.keep_within_hourly),
        (Period::Day, retention.keep_daily, "keep_within_daily", &retention.keep_within_daily),
        (Period::Week, retention.keep_weekly, "keep_within_weekly", &retention.keep_within_weekly),
        (Period::Month, retention.keep_monthly, "keep_within_monthly", &retention.keep_within_monthly),
        (Period::Year, retention.keep_yearly, "keep_within_yearly", &retention.keep_within_yearly),
    ] {
        if count > 0 {
            policy = policy.keeping(period, Limit::from(count));
        }
        policy = policy.keeping_within(period, span(key, within)?);
    }
    policy.last = Limit::from(retention.keep_last);
    policy.within = span("keep_within", &retention.keep_within)?;
    if let Some(zone) = &retention.timezone {
        policy.zone = zone_named(zone).map_err(|error| (Some("timezone"), error.to_string()))?;
    }
    // Tags alone would leave nothing of a series that has none.
    if policy.is_empty() {
        return Err((None, "this keeps nothing; give at least one keep_… rule, or policy: guide".to_owned()));
    }
    policy.tags = retention.keep_tags.iter().map(|tag| vec![tag.clone()]).collect();
    if retention.allow_share.is_some_and(|percent| percent > 100) {
        return Err((Some("allow_share"), "not a percentage".to_owned()));
    }
    Ok(policy)
}
