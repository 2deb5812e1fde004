//! One journey as bytes, and back: what is usual takes no bytes but a flag.

use std::collections::VecDeque;

use uuid::Uuid;

use super::bytes::{Damaged, push_number};
use super::tallies::{open_money, open_tally, pack_money, pack_tally};
use super::{Opener, Packer};
use crate::journey::signs::{Added, Gathered, Question, Seen};
use crate::journey::watch::PendingArm;
use crate::journey::{
    Abandonment, Closed, Counted, Episode, EpisodeId, EpisodeIds, EpisodeKindState, Influence, Journey, SessionSigns, Signs,
    Standing, TouchpointId, Watch,
};
use crate::model::StageIndex;
use crate::time::Timestamp;

/// What a journey has, as bits.
mod has {
    pub(super) const STANDING: u64 = 1;
    pub(super) const EPISODES: u64 = 1 << 1;
    pub(super) const KINDS: u64 = 1 << 2;
    pub(super) const TALLIES: u64 = 1 << 3;
    pub(super) const SEGMENT: u64 = 1 << 4;
    pub(super) const INFLUENCE: u64 = 1 << 5;
    pub(super) const COUNTED: u64 = 1 << 6;
    pub(super) const SESSIONS: u64 = 1 << 7;
    pub(super) const SIGNS: u64 = 1 << 8;
    pub(super) const FRICTIONS: u64 = 1 << 9;
    /// What came to be kept later, at the end; see [`super::more`].
    pub(super) const MORE: u64 = 1 << 10;
}

/// What stands at the end of a journey, as bits.
mod more {
    /// What each kind of episodes remembers by ids.
    pub(super) const CLOSED: u64 = 1;
    /// Of episodes whose worth did not come with the latest progress: when it came.
    pub(super) const VALUED: u64 = 1 << 1;
    /// What episodes have summed up.
    pub(super) const SUMS: u64 = 1 << 2;
    /// How often absences are told again.
    pub(super) const REPEATS: u64 = 1 << 3;
    /// How absences were told before they were told last.
    pub(super) const TOLD_BEFORE: u64 = 1 << 4;
}

fn flag(bit: u64, set: bool) -> u64 {
    if set { bit } else { 0 }
}

impl Journey {
    pub(super) fn pack(&self, to: &mut Packer<'_>) {
        let kinds = self.kinds.iter().any(|kind| kind.opened > 0 || kind.last_completion.is_some());
        let closed = self.kinds.iter().any(|kind| !kind.closed.is_empty() || !kind.reused.is_empty());
        let valued = self.episodes.iter().filter(|episode| is_valued_apart(episode)).count() as u64;
        let summed = self.episodes.iter().any(|episode| !episode.sums.is_empty());
        let more = flag(more::CLOSED, closed) | flag(more::VALUED, valued > 0) | flag(more::SUMS, summed);
        let standing = self.standing.iter().map(|standing| &standing.watch);
        let watches = || standing.clone().chain(self.episodes.iter().map(|episode| &episode.watch));
        let repeated = watches().any(|watch| watch.repeats > 0);
        let told_before = watches().any(|watch| !watch.told_before.is_empty());
        let more = more | flag(more::REPEATS, repeated) | flag(more::TOLD_BEFORE, told_before);
        to.number(
            flag(has::STANDING, self.standing.is_some())
                | flag(has::EPISODES, !self.episodes.is_empty())
                | flag(has::KINDS, kinds)
                | flag(has::TALLIES, !self.tallies.is_empty())
                | flag(has::SEGMENT, self.segment.is_some())
                | flag(has::INFLUENCE, self.influence.is_some())
                | flag(has::COUNTED, !self.counted.is_empty())
                | flag(has::SESSIONS, !self.sessions.is_empty())
                | flag(has::SIGNS, !self.signs.is_empty())
                | flag(has::FRICTIONS, self.frictions > 0)
                | flag(has::MORE, more > 0),
        );
        to.number(self.number);
        to.time(self.started_at);
        to.number(self.sequence);
        to.number(self.transitions);
        self.pack_reached(to);
        to.number(self.kinds.len() as u64);
        if kinds {
            self.kinds.iter().for_each(|kind| pack_kind(kind, to));
        }
        if let Some(standing) = &self.standing {
            to.number(u64::from(standing.stage) << 2 | flag(1, standing.abandoned) | flag(2, !standing.signs.is_empty()));
            pack_watch(&standing.watch, to);
            pack_signs_if_any(&standing.signs, to);
        }
        list(&self.episodes, to, pack_episode);
        list(&self.tallies, to, pack_tally);
        if let Some(segment) = self.segment {
            to.number(segment);
        }
        if let Some(influence) = &self.influence {
            pack_influence(influence, to);
        }
        list(&self.counted, to, pack_counted);
        list(&self.sessions, to, |session, to| {
            to.id(&session.id);
            to.number(session.touched);
            pack_signs(&session.signs, to);
        });
        pack_signs_if_any(&self.signs, to);
        if self.frictions > 0 {
            to.number(self.frictions);
        }
        if more > 0 {
            to.number(more);
        }
        if closed {
            self.kinds.iter().for_each(|kind| pack_closed(kind, to));
        }
        if valued > 0 {
            to.number(valued);
            for (place, episode) in (0_u64..).zip(&self.episodes).filter(|(_, episode)| is_valued_apart(episode)) {
                to.number(place);
                // Where nothing is known of it, that is long ago.
                to.moment(episode.value_at.unwrap_or(Timestamp::MIN));
            }
        }
        if summed {
            for episode in &self.episodes {
                to.number(episode.sums.len() as u64);
                episode.sums.iter().for_each(|sum| pack_tally(sum, to));
            }
        }
        if repeated {
            watches().for_each(|watch| to.number(watch.repeats));
        }
        if told_before {
            for watch in watches() {
                to.number(watch.told_before.len() as u64);
                watch.told_before.iter().for_each(|told| pack_abandonment(told, to));
            }
        }
    }

    pub(super) fn unpack(&mut self, from: &mut Opener<'_>) -> Result<(), Damaged> {
        let there = from.bytes.number()?;
        let has = |bit: u64| there & bit != 0;
        self.number = from.bytes.small()?;
        self.started_at = from.time()?;
        self.sequence = from.bytes.number()?;
        self.transitions = from.bytes.small()?;
        self.open_reached(from)?;
        let kinds: usize = from.bytes.small::<u16>()?.into();
        self.kinds.resize_with(kinds, EpisodeKindState::default);
        for kind in &mut self.kinds {
            if has(has::KINDS) {
                open_kind(kind, from)?;
            } else {
                kind.opened = 0;
                kind.last_completion = None;
                kind.closed.0.clear();
            }
            kind.reused.clear();
        }
        self.standing = None;
        if has(has::STANDING) {
            let head = from.bytes.number()?;
            let stage = StageIndex::try_from(head >> 2).map_err(|_| Damaged)?;
            let watch = open_watch(from)?;
            let signs = if head & 2 != 0 { open_signs(from)? } else { Signs::default() };
            self.standing = Some(Standing { stage, watch, abandoned: head & 1 != 0, signs });
        }
        open_list(has(has::EPISODES), &mut self.episodes, from, open_episode)?;
        open_list(has(has::TALLIES), &mut self.tallies, from, open_tally)?;
        self.segment = if has(has::SEGMENT) { Some(from.bytes.small()?) } else { None };
        if has(has::INFLUENCE) {
            self.set_influence(open_influence(from)?);
        } else {
            self.influence = None;
        }
        open_list(has(has::COUNTED), &mut self.counted, from, open_counted)?;
        open_list(has(has::SESSIONS), &mut self.sessions, from, |from| {
            Ok(SessionSigns { id: from.bytes.id()?, touched: from.bytes.number()?, signs: open_signs(from)? })
        })?;
        self.signs = if has(has::SIGNS) { open_signs(from)? } else { Signs::default() };
        self.frictions = if has(has::FRICTIONS) { from.bytes.small()? } else { 0 };
        let more = if has(has::MORE) { from.bytes.number()? } else { 0 };
        if more & more::CLOSED != 0 {
            self.kinds.iter_mut().try_for_each(|kind| open_closed(kind, from))?;
        }
        if more & more::VALUED != 0 {
            for _ in 0..from.bytes.count()? {
                let place: u32 = from.bytes.small()?;
                let episode = self.episodes.get_mut(place as usize).ok_or(Damaged)?;
                episode.value_at = Some(from.moment()?);
            }
        }
        if more & more::SUMS != 0 {
            for episode in &mut self.episodes {
                let sums = (0..from.bytes.count()?).map(|_| open_tally(from));
                episode.sums = sums.collect::<Result<_, _>>()?;
            }
        }
        if more & more::REPEATS != 0 {
            let standing = self.standing.iter_mut().map(|standing| &mut standing.watch);
            for watch in standing.chain(self.episodes.iter_mut().map(|episode| &mut episode.watch)) {
                watch.repeats = from.bytes.small()?;
            }
        }
        if more & more::TOLD_BEFORE != 0 {
            let standing = self.standing.iter_mut().map(|standing| &mut standing.watch);
            for watch in standing.chain(self.episodes.iter_mut().map(|episode| &mut episode.watch)) {
                open_list(true, &mut watch.told_before, from, open_abandonment)?;
            }
        }
        Ok(())
    }

    /// How many stages there are, those reached as bits, eight to a byte, and when each was.
    fn pack_reached(&self, to: &mut Packer<'_>) {
        to.number(self.reached.len() as u64);
        for stages in self.reached.chunks(8) {
            let bits = stages.iter().rev().fold(0, |bits, at| bits << 1 | u8::from(at.is_some()));
            to.out.push(bits);
        }
        self.reached.iter().flatten().for_each(|at| to.moment(*at));
    }

    fn open_reached(&mut self, from: &mut Opener<'_>) -> Result<(), Damaged> {
        let stages: usize = from.bytes.small::<u16>()?.into();
        let bits = from.bytes.take(stages.div_ceil(8))?;
        self.reached.clear();
        for stage in 0..stages {
            let reached = bits[stage / 8] & (1 << (stage % 8)) != 0;
            self.reached.push(if reached { Some(from.moment()?) } else { None });
        }
        Ok(())
    }
}

/// A list that is there, by its length.
fn list<T>(all: &[T], to: &mut Packer<'_>, mut pack: impl FnMut(&T, &mut Packer<'_>)) {
    if !all.is_empty() {
        to.number(all.len() as u64);
        all.iter().for_each(|one| pack(one, to));
    }
}

fn open_list<T>(
    there: bool,
    all: &mut Vec<T>,
    from: &mut Opener<'_>,
    mut open: impl FnMut(&mut Opener<'_>) -> Result<T, Damaged>,
) -> Result<(), Damaged> {
    all.clear();
    if there {
        for _ in 0..from.bytes.count()? {
            all.push(open(from)?);
        }
    }
    Ok(())
}

/// What a watch has, as bits.
mod watch {
    pub(super) const OPENED_LISTED: u8 = 1;
    pub(super) const ONE_TOUCHPOINT: u8 = 1 << 1;
    pub(super) const LAST_LISTED: u8 = 1 << 2;
    pub(super) const COUNTS_FROM_LAST: u8 = 1 << 3;
    pub(super) const DEADLINE: u8 = 1 << 4;
    pub(super) const UNTIL: u8 = 1 << 5;
    pub(super) const ABANDONMENT: u8 = 1 << 6;
    /// The latest date was not carried by the latest progress, or has passed.
    pub(super) const DATED_APART: u8 = 1 << 7;
}

fn pack_watch(watch: &Watch, to: &mut Packer<'_>) {
    let opened = to.listed(&watch.opened_by, Some(watch.opened_at));
    let one = watch.opened_by == watch.last_progress && watch.opened_at == watch.last_progress_at;
    let last = if one { None } else { to.listed(&watch.last_progress, Some(watch.last_progress_at)) };
    let dated = watch.until_at.filter(|at| watch.until.is_none() || *at != watch.last_progress_at);
    let bit = |bit: u8, set: bool| if set { bit } else { 0 };
    to.out.push(
        bit(watch::OPENED_LISTED, opened.is_some())
            | bit(watch::ONE_TOUCHPOINT, one)
            | bit(watch::LAST_LISTED, last.is_some())
            | bit(watch::COUNTS_FROM_LAST, watch.counts_from == watch.last_progress_at)
            | bit(watch::DEADLINE, watch.deadline != Timestamp::MAX)
            | bit(watch::UNTIL, watch.until.is_some())
            | bit(watch::ABANDONMENT, watch.abandonment.is_some() || watch.abandonments > 0)
            | bit(watch::DATED_APART, dated.is_some()),
    );
    pack_touchpoint(opened, &watch.opened_by, watch.opened_at, to);
    if !one {
        pack_touchpoint(last, &watch.last_progress, watch.last_progress_at, to);
    }
    to.number(watch.progress_count);
    if watch.counts_from != watch.last_progress_at {
        to.time_since(watch.counts_from, watch.last_progress_at);
    }
    if watch.deadline != Timestamp::MAX {
        to.time_since(watch.deadline, watch.counts_from);
    }
    if let Some(until) = watch.until {
        to.time(until);
    }
    if watch.abandonment.is_some() || watch.abandonments > 0 {
        to.number(u64::from(watch.abandonments) << 1 | flag(1, watch.abandonment.is_some()));
        if let Some(abandonment) = &watch.abandonment {
            pack_abandonment(abandonment, to);
        }
    }
    if let Some(dated) = dated {
        to.moment(dated);
    }
}

/// A touchpoint that is in the list by its number, any other by its id and event time.
fn pack_touchpoint(listed: Option<u64>, id: &TouchpointId, at: Timestamp, to: &mut Packer<'_>) {
    match listed {
        Some(number) => to.number(number),
        None => {
            to.id(&id.id);
            to.time(at);
        }
    }
}

fn open_touchpoint(listed: bool, from: &mut Opener<'_>) -> Result<(TouchpointId, Timestamp), Damaged> {
    if !listed {
        return Ok((from.elsewhere()?, from.time()?));
    }
    let number = from.bytes.number()?;
    let at = from.recent.at(from.place(number)?).ok_or(Damaged)?;
    Ok((from.listed(number)?, at))
}

fn open_watch(from: &mut Opener<'_>) -> Result<Watch, Damaged> {
    let there = from.bytes.byte()?;
    let has = |bit: u8| there & bit != 0;
    let (opened_by, opened_at) = open_touchpoint(has(watch::OPENED_LISTED), from)?;
    let (last_progress, last_progress_at) = if has(watch::ONE_TOUCHPOINT) {
        (opened_by.clone(), opened_at)
    } else {
        open_touchpoint(has(watch::LAST_LISTED), from)?
    };
    let progress_count = from.bytes.small()?;
    let counts_from = if has(watch::COUNTS_FROM_LAST) { last_progress_at } else { from.time_since(last_progress_at)? };
    let deadline = if has(watch::DEADLINE) { from.time_since(counts_from)? } else { Timestamp::MAX };
    let until = if has(watch::UNTIL) { Some(from.time()?) } else { None };
    let (mut abandonment, mut abandonments) = (None, 0);
    if has(watch::ABANDONMENT) {
        let head = from.bytes.number()?;
        abandonments = u32::try_from(head >> 1).map_err(|_| Damaged)?;
        if head & 1 != 0 {
            abandonment = Some(open_abandonment(from)?);
        }
    }
    let until_at = if has(watch::DATED_APART) { Some(from.moment()?) } else { until.map(|_| last_progress_at) };
    Ok(Watch {
        opened_by,
        opened_at,
        last_progress,
        last_progress_at,
        progress_count,
        counts_from,
        deadline,
        until,
        until_at,
        abandonment,
        abandonments,
        repeats: 0,
        told_before: Vec::new(),
        pending: PendingArm::None,
    })
}

fn pack_abandonment(told: &Abandonment, to: &mut Packer<'_>) {
    to.out.extend_from_slice(told.id.as_bytes());
    to.time(told.at);
}

fn open_abandonment(from: &mut Opener<'_>) -> Result<Abandonment, Damaged> {
    Ok(Abandonment { id: Uuid::from_bytes(from.bytes.array()?), at: from.time()? })
}

fn pack_episode(episode: &Episode, to: &mut Packer<'_>) {
    to.number(
        u64::from(episode.kind) << 5
            | flag(1, episode.abandoned)
            | flag(2, episode.session.is_some())
            | flag(4, episode.value.is_some())
            | flag(8, episode.latest_then > 0)
            | flag(16, !episode.signs.is_empty()),
    );
    to.number(episode.number);
    pack_ids(&episode.ids, to);
    if let Some(session) = &episode.session {
        to.id(session);
    }
    if let Some(value) = episode.value {
        pack_money(value, to);
    }
    to.number(episode.touched);
    pack_watch(&episode.watch, to);
    if episode.latest_then > 0 {
        to.number(episode.latest_then);
    }
    pack_signs_if_any(&episode.signs, to);
}

fn open_episode(from: &mut Opener<'_>) -> Result<Episode, Damaged> {
    let head = from.bytes.number()?;
    let has = |bit: u64| head & bit != 0;
    let number = from.bytes.small()?;
    let ids = open_ids(from)?;
    let session = if has(2) { Some(from.bytes.id()?) } else { None };
    let value = if has(4) { Some(open_money(from)?) } else { None };
    let (touched, watch) = (from.bytes.number()?, open_watch(from)?);
    Ok(Episode {
        kind: u16::try_from(head >> 5).map_err(|_| Damaged)?,
        number,
        ids,
        session,
        value,
        value_at: value.map(|_| watch.last_progress_at),
        touched,
        watch,
        abandoned: has(1),
        latest_then: if has(8) { from.bytes.small()? } else { 0 },
        signs: if has(16) { open_signs(from)? } else { Signs::default() },
        sums: Vec::new(),
    })
}

fn pack_episode_id(id: &EpisodeId, to: &mut Packer<'_>) {
    to.out.push(id.name);
    to.id(&id.value);
}

fn open_episode_id(from: &mut Opener<'_>) -> Result<EpisodeId, Damaged> {
    Ok(EpisodeId { name: from.bytes.byte()?, value: from.bytes.id()? })
}

fn pack_ids(ids: &[EpisodeId], to: &mut Packer<'_>) {
    to.number(ids.len() as u64);
    ids.iter().for_each(|id| pack_episode_id(id, to));
}

fn open_ids(from: &mut Opener<'_>) -> Result<EpisodeIds, Damaged> {
    (0..from.bytes.count()?).map(|_| open_episode_id(from)).collect()
}

/// Whether the worth did not come with the latest progress, as it mostly does.
fn is_valued_apart(episode: &Episode) -> bool {
    episode.value.is_some() && episode.value_at != Some(episode.watch.last_progress_at)
}

/// With the bit of 2, ids that are over follow, each by itself: so they were kept until version 3.
fn pack_kind(kind: &EpisodeKindState, to: &mut Packer<'_>) {
    to.number(u64::from(kind.opened) << 2 | flag(1, kind.last_completion.is_some()));
    if let Some(at) = kind.last_completion {
        to.time(at);
    }
}

fn pack_closed(kind: &EpisodeKindState, to: &mut Packer<'_>) {
    to.number((kind.closed.0.len() as u64) << 1 | flag(1, !kind.reused.is_empty()));
    for closed in &kind.closed.0 {
        to.number((closed.ids.len() as u64) << 2 | flag(1, closed.ended.is_some()) | flag(2, closed.again.is_some()));
        closed.ids.iter().for_each(|id| pack_episode_id(id, to));
        to.time(closed.until);
        for at in [closed.ended, closed.again].into_iter().flatten() {
            to.moment(at);
        }
    }
    if !kind.reused.is_empty() {
        pack_ids(&kind.reused, to);
    }
}

fn open_closed(kind: &mut EpisodeKindState, from: &mut Opener<'_>) -> Result<(), Damaged> {
    let head = from.bytes.number()?;
    for _ in 0..head >> 1 {
        let head = from.bytes.number()?;
        let mut ids = EpisodeIds::new();
        for _ in 0..head >> 2 {
            ids.push(open_episode_id(from)?);
        }
        let until = from.time()?;
        let ended = if head & 1 != 0 { Some(from.moment()?) } else { None };
        let again = if head & 2 != 0 { Some(from.moment()?) } else { None };
        kind.closed.0.push_back(Closed { ids, ended, until, again });
    }
    if head & 1 != 0 {
        kind.reused.extend(open_ids(from)?);
    }
    Ok(())
}

fn open_kind(kind: &mut EpisodeKindState, from: &mut Opener<'_>) -> Result<(), Damaged> {
    let head = from.bytes.number()?;
    kind.opened = u32::try_from(head >> 2).map_err(|_| Damaged)?;
    kind.last_completion = if head & 1 != 0 { Some(from.time()?) } else { None };
    kind.closed.0.clear();
    if head & 2 != 0 {
        for _ in 0..from.bytes.count()? {
            kind.closed.0.push_back(Closed::single(open_episode_id(from)?, from.time()?));
        }
    }
    Ok(())
}

/// One that is in the list stands there, with its type, channel and time.
fn pack_influence(influence: &Influence, to: &mut Packer<'_>) {
    let stage = |to: &mut Packer<'_>| to.number(influence.stage.map_or(0, |stage| u64::from(stage) + 1));
    let listed = to.listed(&influence.id, Some(influence.at));
    match listed {
        Some(number) => {
            to.number(number);
            stage(to);
        }
        None => {
            to.number(0_u64);
            stage(to);
            to.id(&influence.id.id);
            to.time(influence.at);
            to.word(&influence.kind);
            to.out.push(u8::from(influence.channel.is_some()));
            influence.channel.iter().for_each(|channel| to.word(channel));
        }
    }
}

fn open_influence(from: &mut Opener<'_>) -> Result<Influence, Damaged> {
    let number = from.bytes.number()?;
    let stage: u64 = from.bytes.number()?;
    let stage = stage.checked_sub(1).map(StageIndex::try_from).transpose().map_err(|_| Damaged)?;
    if number > 0 {
        let past = from.recent.get(from.place(number)?, from.words)?;
        let id = TouchpointId::new(past.id, number);
        return Ok(Influence { id, kind: past.kind, channel: past.channel, at: past.at, stage });
    }
    let (id, at) = (from.elsewhere()?, from.time()?);
    let kind = from.word()?;
    let channel = if from.bytes.byte()? != 0 { Some(from.word()?) } else { None };
    Ok(Influence { id, kind, channel, at, stage })
}

fn pack_counted(counted: &Counted, to: &mut Packer<'_>) {
    to.number(counted.stage);
    to.out.push(counted.demand);
    to.number(counted.seen.len() as u64);
    for (at, part) in &counted.seen {
        to.moment(*at);
        to.out.push(*part);
    }
}

fn open_counted(from: &mut Opener<'_>) -> Result<Counted, Damaged> {
    let (stage, demand) = (from.bytes.small()?, from.bytes.byte()?);
    let one = |from: &mut Opener<'_>| Ok((from.moment()?, from.bytes.byte()?));
    let seen = (0..from.bytes.count()?).map(|_| one(from)).collect::<Result<_, _>>()?;
    Ok(Counted { stage, demand, seen })
}

fn pack_signs_if_any(signs: &Signs, to: &mut Packer<'_>) {
    if !signs.is_empty() {
        pack_signs(signs, to);
    }
}

fn pack_signs(signs: &Signs, to: &mut Packer<'_>) {
    to.number(signs.0.len() as u64);
    for gathered in &signs.0 {
        to.number(gathered.rule);
        to.out.push(
            u8::from(!gathered.seen.is_empty())
                | u8::from(!gathered.questions.is_empty()) << 1
                | u8::from(!gathered.added.is_empty()) << 2
                | u8::from(gathered.cooled_at != Timestamp::MIN) << 3,
        );
        if !gathered.seen.is_empty() {
            to.number(gathered.seen.len() as u64);
            gathered.seen.iter().for_each(|seen| pack_seen(seen, to));
        }
        if !gathered.questions.is_empty() {
            to.number(gathered.questions.len() as u64);
            for question in &gathered.questions {
                to.touchpoint(&question.id);
                to.moment(question.at);
                to.time_since(question.deadline, question.at);
                to.out.push(u8::from(question.key.is_some()));
                question.key.iter().for_each(|key| to.text(key));
            }
        }
        if !gathered.added.is_empty() {
            to.number(gathered.added.len() as u64);
            for added in &gathered.added {
                to.number(added.rule);
                to.number(added.weight);
                to.moment(added.at);
                to.number(added.evidence.len() as u64);
                added.evidence.iter().for_each(|seen| pack_seen(seen, to));
            }
        }
        if gathered.cooled_at != Timestamp::MIN {
            to.time(gathered.cooled_at);
        }
    }
}

fn open_signs(from: &mut Opener<'_>) -> Result<Signs, Damaged> {
    let one = |from: &mut Opener<'_>| {
        let rule = from.bytes.small()?;
        let there = from.bytes.byte()?;
        let mut gathered = Gathered {
            rule,
            seen: VecDeque::new(),
            questions: Vec::new(),
            added: VecDeque::new(),
            cooled_at: Timestamp::MIN,
        };
        if there & 1 != 0 {
            gathered.seen = (0..from.bytes.count()?).map(|_| open_seen(from)).collect::<Result<_, _>>()?;
        }
        if there & 2 != 0 {
            gathered.questions = (0..from.bytes.count()?).map(|_| open_question(from)).collect::<Result<_, _>>()?;
        }
        if there & 4 != 0 {
            gathered.added = (0..from.bytes.count()?).map(|_| open_added(from)).collect::<Result<_, _>>()?;
        }
        if there & 8 != 0 {
            gathered.cooled_at = from.time()?;
        }
        Ok(gathered)
    };
    Ok(Signs((0..from.bytes.count()?).map(|_| one(from)).collect::<Result<_, _>>()?))
}

fn open_question(from: &mut Opener<'_>) -> Result<Question, Damaged> {
    let (id, at) = (from.touchpoint()?, from.moment()?);
    let deadline = from.time_since(at)?;
    let key = if from.bytes.byte()? != 0 { Some(from.bytes.text()?.into()) } else { None };
    Ok(Question { id, at, key, deadline })
}

fn open_added(from: &mut Opener<'_>) -> Result<Added, Damaged> {
    let (rule, weight, at) = (from.bytes.small()?, from.bytes.small()?, from.moment()?);
    let evidence = (0..from.bytes.count()?).map(|_| open_seen(from)).collect::<Result<_, _>>()?;
    Ok(Added { rule, weight, at, evidence })
}

fn pack_seen(seen: &Seen, to: &mut Packer<'_>) {
    to.touchpoint(&seen.id);
    to.moment(seen.at);
    push_number(to.out, seen.parts.into());
}

fn open_seen(from: &mut Opener<'_>) -> Result<Seen, Damaged> {
    Ok(Seen { id: from.touchpoint()?, at: from.moment()?, parts: from.bytes.small()? })
}
