//! What is not there is not there, and says so without an error.

use super::context::{CheckContext, Findings};
use decube_backup_core::Result;
use decube_backup_core::sink::ByteRange;

const ABSENT: [&str; 3] = ["nothing", "no/such/folder", "beside/absent"];

pub(super) async fn get_of_an_absent_key_is_none(c: &CheckContext, f: &mut Findings) -> Result<()> {
    c.create(f, &c.key("beside/there")?, "x").await?;
    for name in ABSENT {
        f.equal(name, c.get(&c.key(name)?).await?, None);
    }
    Ok(())
}

pub(super) async fn stat_of_an_absent_key_is_none(c: &CheckContext, f: &mut Findings) -> Result<()> {
    c.create(f, &c.key("beside/there")?, "x").await?;
    for name in ABSENT {
        f.equal(name, c.sink().stat(&c.key(name)?).await?, None);
    }
    Ok(())
}

pub(super) async fn a_range_of_an_absent_key_is_none(c: &CheckContext, f: &mut Findings) -> Result<()> {
    for (offset, len) in [(0, 1), (5, 0), (1 << 40, 10)] {
        let got = c.sink().get(&c.key("nothing")?, ByteRange::From { offset, len }).await?;
        f.equal(format!("bytes {offset}+{len}"), got, None);
    }
    Ok(())
}

pub(super) async fn an_object_is_no_folder_and_a_folder_no_object(c: &CheckContext, f: &mut Findings) -> Result<()> {
    c.create(f, &c.key("object")?, "x").await?;
    c.create(f, &c.key("folder/object")?, "x").await?;
    for name in ["object/inside", "object/inside/deeper", "folder"] {
        let key = c.key(name)?;
        f.equal(format!("get of {name}"), c.get(&key).await?, None);
        f.equal(format!("stat of {name}"), c.sink().stat(&key).await?, None);
    }
    Ok(())
}

pub(super) async fn a_deleted_object_is_gone(c: &CheckContext, f: &mut Findings) -> Result<()> {
    for name in ["gone", "folder/gone"] {
        let key = c.key(name)?;
        c.create(f, &key, "x").await?;
        c.sink().delete(&key).await?;
        f.equal(format!("get of {name}"), c.get(&key).await?, None);
        f.equal(format!("stat of {name}"), c.sink().stat(&key).await?, None);
    }
    Ok(())
}

pub(super) async fn delete_of_an_absent_key_is_ok(c: &CheckContext, f: &mut Findings) -> Result<()> {
    let object = c.key("object")?;
    c.create(f, &object, "x").await?;
    for name in ["nothing", "no/such/folder", "object/inside"] {
        if let Err(error) = c.sink().delete(&c.key(name)?).await {
            f.add(format!("delete of {name}: {error:?}"));
        }
    }
    f.same_bytes("the object beside", c.get(&object).await?.as_deref(), b"x");
    Ok(())
}
