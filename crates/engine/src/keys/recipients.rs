//! Public keys as key slots, in the formats of age and OpenSSH.
//!
//! A slot's envelope is an age file (age-encryption.org/v1) that holds 32 random bytes. Randomness inside it is age's
//! own, from the operating system.

use decube_backup_core::world::Entropy;
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::hash::Key32;
use decube_backup_format::keyslot::Envelope;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use zeroize::Zeroizing;

/// A public key that a slot can be made for.
#[derive(Clone)]
pub struct Recipient {
    text: String,
    key: PublicKey,
}

#[derive(Clone)]
enum PublicKey {
    Age(age::x25519::Recipient),
    Ssh(age::ssh::Recipient),
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Recipient {
    /// Reads `age1…`, `ssh-ed25519 …` or `ssh-rsa …`, as it stands in a `.pub` file.
    ///
    /// # Errors
    /// `Invalid` if it is none of these, and for RSA keys under 2048 or over 4096 bits.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let invalid = |why: &str| {
            Error::new(ErrorKind::Invalid, "key", format!("not a public key that can be used: {why}"))
                .with("recipient", format!("{text:?}"))
                .with_hint(
                    "give `age1…` as `age-keygen` prints it, or the line of a file such as ~/.ssh/id_ed25519.pub",
                )
        };
        let key = if text.starts_with("age1") {
            age::x25519::Recipient::from_str(text).map(PublicKey::Age).map_err(invalid)?
        } else if text.starts_with("AGE-SECRET-KEY-") || text.contains("PRIVATE KEY") {
            // Not repeated in the message: it is a secret.
            return Err(Error::new(ErrorKind::Invalid, "key", "this is a private key; a slot takes the public one")
                .with_hint("`age-keygen -y FILE` and `ssh-keygen -y -f FILE` print the public key of a private one"));
        } else {
            use age::ssh::ParseRecipientKeyError as Why;
            age::ssh::Recipient::from_str(text).map(PublicKey::Ssh).map_err(|why| match why {
                Why::RsaModulusTooSmall => invalid("an RSA key of less than 2048 bits is too weak"),
                Why::RsaModulusTooLarge => invalid("an RSA key of more than 4096 bits"),
                Why::Unsupported(kind) => invalid(&format!("keys of type {kind} are not supported")),
                Why::Invalid(why) => invalid(why),
                Why::Ignore => invalid("this type of SSH key cannot encrypt"),
            })?
        };
        Ok(Self { text: text.to_owned(), key })
    }

    /// As it was given.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// A new secret, and an envelope around it that this key's owner opens.
    pub(super) fn enclose(&self, entropy: &dyn Entropy) -> Result<(Envelope, Key32)> {
        let mut secret = Key32::default();
        entropy.fill(&mut secret.0)?;
        let sealed = match &self.key {
            PublicKey::Age(key) => age::encrypt(key, &secret.0),
            PublicKey::Ssh(key) => age::encrypt(key, &secret.0),
        };
        let sealed = sealed
            .map_err(|e| Error::new(ErrorKind::Internal, "key", "cannot encrypt to this public key").with_source(e))?;
        Ok((Envelope { recipient: self.text.clone(), sealed }, secret))
    }
}

/// Private keys of one identity file.
#[derive(Clone)]
pub struct Identities(Arc<Vec<Box<dyn age::Identity + Send + Sync>>>);

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identities({} × ***)", self.0.len())
    }
}

impl Identities {
    /// Reads an age identity file, or an OpenSSH private key without a passphrase.
    ///
    /// # Errors
    /// `Invalid` if there is no private key in it, or one that cannot be used here.
    pub fn parse(text: &str) -> Result<Self> {
        let mut found: Vec<Box<dyn age::Identity + Send + Sync>> = Vec::new();
        if text.contains("-----BEGIN") {
            found.push(Box::new(ssh_key(text)?));
            return Ok(Self(Arc::new(found)));
        }
        let lines = text.lines().map(str::trim).enumerate();
        for (at, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let identity = age::x25519::Identity::from_str(line).map_err(|why| {
                // The line itself stays out: it may be a secret with a typing error.
                Error::new(ErrorKind::Invalid, "key", format!("not an age identity: {why}"))
                    .with("line", at + 1)
                    .with_hint(
                        "an identity file holds lines that begin with AGE-SECRET-KEY-1, or one OpenSSH private key; \
                         passphrase-protected identity files and plugins are not supported",
                    )
            })?;
            found.push(Box::new(identity));
        }
        if found.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "key", "there is no private key in the identity file")
                .with_hint("give the file that `age-keygen -o FILE` made, or one such as ~/.ssh/id_ed25519"));
        }
        Ok(Self(Arc::new(found)))
    }

    /// What `envelope` holds, `None` if it is for somebody else.
    ///
    /// # Errors
    /// `Corrupt` if it is for one of these keys and damaged.
    pub(crate) fn take_out(&self, envelope: &Envelope) -> Result<Option<Key32>> {
        let damaged = || Error::new(ErrorKind::Corrupt, "open", "the envelope of a key slot is damaged");
        let decryptor = age::Decryptor::new_buffered(&envelope.sealed[..]).map_err(|e| damaged().with_source(e))?;
        let identities = self.0.iter().map(|identity| &**identity as &dyn age::Identity);
        let mut reader = match decryptor.decrypt(identities) {
            Ok(reader) => reader,
            Err(age::DecryptError::NoMatchingKeys) => return Ok(None),
            Err(error) => return Err(damaged().with_source(error)),
        };
        let mut secret = Zeroizing::new(Vec::with_capacity(64));
        // One byte more than there should be, so that a longer one is noticed.
        let mut limited = std::io::Read::take(&mut reader, 33);
        std::io::Read::read_to_end(&mut limited, &mut secret).map_err(|e| damaged().with_source(e))?;
        let secret: [u8; 32] = secret.as_slice().try_into().map_err(|_| damaged())?;
        Ok(Some(Key32(secret)))
    }
}

fn ssh_key(text: &str) -> Result<age::ssh::Identity> {
    let refused = |why: &str, hint: &str| Error::new(ErrorKind::Invalid, "key", why).with_hint(hint);
    let identity = age::ssh::Identity::from_buffer(text.as_bytes(), None).map_err(|e| {
        refused("not an SSH private key", "give an OpenSSH private key of type ed25519 or RSA").with_source(e)
    })?;
    let without = "make a copy without passphrase on a disk only you can read: \
                   `cp KEY COPY && ssh-keygen -p -N '' -f COPY`, or use an age identity";
    match &identity {
        age::ssh::Identity::Unencrypted(_) => Ok(identity),
        age::ssh::Identity::Encrypted(_) => Err(refused("this SSH key is protected by a passphrase", without)),
        age::ssh::Identity::Unsupported(why) => {
            use age::ssh::UnsupportedKey as Why;
            Err(match why {
                Why::EncryptedPem | Why::EncryptedSsh(_) => {
                    refused("this SSH key is protected by a passphrase", without)
                }
                Why::Hardware(_) => {
                    refused("this SSH key lives on a security key, which can sign but not decrypt", "use another key")
                }
                Why::Type(kind) => {
                    refused("SSH keys of this type cannot decrypt", "use one of type ed25519 or RSA").with("type", kind)
                }
            })
        }
    }
}
