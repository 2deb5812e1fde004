//! An authority of the tests' own, and what it certifies.

use std::path::{Path, PathBuf};

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkcs12::Pkcs12;
use openssl::pkey::{PKey, Private};
use openssl::symm::Cipher;
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509Name, X509NameBuilder};

/// Whoever holds a key, and the certificate of it.
struct Holder {
    key: PKey<Private>,
    certificate: X509,
}

/// Files with the certificates and keys of all who take part, in a folder that goes with this.
pub(crate) struct Certificates {
    folder: tempfile::TempDir,
}

impl Certificates {
    /// Makes all of them; what is secret of the client's is encrypted with this password.
    pub(crate) fn make(password: &str) -> Certificates {
        let folder = tempfile::tempdir().expect("a temporary directory");
        written(folder.path(), password).expect("keys can be made");
        Certificates { folder }
    }

    /// A file: `authority.pem`, `broker.pem` (key and certificate), `client.pem`, `client.key`, `client.p12`.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn written(folder: &Path, password: &str) -> Result<(), ErrorStack> {
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.join(name), bytes).expect("the file can be written");
    let authority = holder("an authority", None)?;
    let broker = holder("a broker", Some(&authority))?;
    let client = holder("a client", Some(&authority))?;
    write("authority.pem", &authority.certificate.to_pem()?);
    write("broker.pem", &[broker.key.private_key_to_pem_pkcs8()?, broker.certificate.to_pem()?].concat());
    write("client.pem", &client.certificate.to_pem()?);
    write("client.key", &client.key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), password.as_bytes())?);
    let both = Pkcs12::builder().name("client").pkey(&client.key).cert(&client.certificate).build2(password)?;
    write("client.p12", &both.to_der()?);
    Ok(())
}

/// Somebody new, certified by this authority, or an authority.
fn holder(name: &str, by: Option<&Holder>) -> Result<Holder, ErrorStack> {
    let curve = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    let key = PKey::from_ec_key(EcKey::generate(&curve)?)?;
    let mut certificate = X509Builder::new()?;
    let subject = named(name)?;
    certificate.set_version(2)?;
    let mut serial = BigNum::new()?;
    serial.rand(64, openssl::bn::MsbOption::ONE, false)?;
    certificate.set_serial_number(&*serial.to_asn1_integer()?)?;
    certificate.set_subject_name(&subject)?;
    certificate.set_pubkey(&key)?;
    certificate.set_not_before(&*Asn1Time::days_from_now(0)?)?;
    certificate.set_not_after(&*Asn1Time::days_from_now(2)?)?;
    if let Some(authority) = by {
        certificate.set_issuer_name(authority.certificate.subject_name())?;
        let context = certificate.x509v3_context(Some(&authority.certificate), None);
        let names = SubjectAlternativeName::new().dns("localhost").build(&context)?;
        certificate.append_extension(names)?;
    } else {
        certificate.set_issuer_name(&subject)?;
        certificate.append_extension(BasicConstraints::new().critical().ca().build()?)?;
    }
    certificate.sign(by.map_or(&key, |authority| &authority.key), MessageDigest::sha256())?;
    Ok(Holder { key, certificate: certificate.build() })
}

fn named(name: &str) -> Result<X509Name, ErrorStack> {
    let mut subject = X509NameBuilder::new()?;
    subject.append_entry_by_text("CN", name)?;
    Ok(subject.build())
}
