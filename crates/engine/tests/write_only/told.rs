//! What is told of hosts' records that have no effect, and to whom.

use super::hostile::{Forged, steal};
use super::{back_up, open_host, world};
use crate::common::key_file;
use crate::common::records::append;
use crate::common::{Harness, series, source_of};
use decube_backup_core::ErrorKind;
use decube_backup_core::monitor::Silent;
use decube_backup_engine::backup;
use decube_backup_format::ids::{PackId, PackKind, PackName};
use decube_backup_format::log::{AddedObject, ObjectName, Payload};
use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Keeps what is told as an error, field by field.
#[derive(Default)]
struct Errors(Mutex<Vec<String>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{field}={value:?} ").expect("text");
    }
}

impl Subscriber for Errors {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }
    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().expect("lock").push(line.0);
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// What `work` tells as errors in this thread.
fn errors(work: impl FnOnce()) -> Vec<String> {
    let errors = Arc::new(Errors::default());
    tracing::subscriber::with_default(errors.clone(), work);
    std::mem::take(&mut errors.0.lock().expect("lock"))
}

#[test]
fn a_host_hears_nothing_of_sound_records_that_it_cannot_read_and_all_that_it_can_see_to_be_wrong() {
    let world = world();
    let nobody: [String; 0] = [];
    let host = || Harness { credentials: key_file(2), ..world.admin.somebody_else() };
    let opened = |host: &Harness| errors(|| drop(open_host(host).expect("opens")));
    for number in ["first", "second"] {
        let tree = source_of(world.tree.path());
        let repo = open_host(&world.host).expect("opens");
        let told = errors(|| drop(backup::backup(&repo, &tree, &series(number), &Silent).expect("backup")));
        assert_eq!(told, nobody, "{number}");
        assert_eq!(opened(&host()), nobody, "{number}: without what was seen before");
    }

    let stolen = steal(&world);
    let name = ObjectName::Pack(PackName { kind: PackKind::Data, id: PackId([3; 16]) });
    let added = vec![AddedObject { name, len: 1, hash: [1; 32] }];
    stolen.append(&world.admin.repository().state(), Forged { added, ..Forged::default() });
    let told = opened(&host());
    assert!(matches!(&told[..], [one] if one.contains("of its own only")), "{told:?}");

    stolen.append(&world.admin.repository().state(), Forged { unreadable: true, ..Forged::default() });
    assert_eq!(opened(&host()).len(), 1);
    let told = errors(|| drop(world.admin.somebody_else().repository()));
    assert!(matches!(&told[..], [_, last] if last.contains("cannot be opened")), "{told:?}");
}

#[test]
fn a_host_does_not_go_on_with_a_log_of_which_a_checkpoint_knows_more() {
    let world = world();
    let first = world.back_up();
    let repo = world.admin.repository();
    while repo.state().next_seq() < 34 {
        append(&repo, Payload::Note { text: "so many".into() }, Vec::new());
    }
    // A checkpoint of all that is there is none of its business.
    let sound = world.host.somebody_else();
    back_up(&sound, &source_of(world.tree.path()), "tree").expect("nothing is lost");
    let objects = world.admin.memory.objects();
    for (who, host) in [("cold", world.host.on_image(objects.clone())), ("warm", world.host.on_image(objects))] {
        let cut = |host: &Harness| {
            let records = host.memory.objects().into_keys().filter(|key| key.as_str() >= "log/000000000000001e");
            records
                .filter(|key| key.as_str().starts_with("log/"))
                .for_each(|key| host.memory.remove(&key).expect("there"));
        };
        if who == "warm" {
            open_host(&host).expect("opened");
        }
        cut(&host);
        let before = host.memory.objects();
        let error = back_up(&host, &source_of(world.tree.path()), "tree").expect_err(who);
        assert_eq!(error.kind(), ErrorKind::Diverged, "{who}: {error:?}");
        assert_eq!(host.memory.objects(), before, "{who}");
        let admin = world.admin.through(host.sink.clone());
        assert!(admin.somebody_else().repository().lacks_records(), "{who}");
        assert!(world.admin.on_image(before).repository().state().live_snapshots().any(|s| s.id == first), "{who}");
    }
}
