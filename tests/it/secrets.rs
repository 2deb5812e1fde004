//! A secret planted in every place where somebody may have put one, and looked for in all that is told.

use std::path::Path;
use std::process::Command;

use sillage::config::{self, Surroundings};
use sillage::deliver::settings;
use sillage::diagnostic::{Style, render};

const SECRET: &str = "Zq7-hush_9xW";
const GOOD: &str = "models: [five-stages.yaml]\nbrokers: localhost:9092\nstart: latest\n";

/// What is told of a file and variables, with colours and without.
fn told(file: &str, variables: &[(&str, &str)]) -> String {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let (_, faults) =
        config::load(Path::new("etc/sillage.yaml"), file, &Surroundings { variables, host: "shop-1".to_owned(), memory: 0 });
    render(&faults, Style::Plain) + &render(&faults, Style::Coloured)
}

/// The longest piece of the secret that could still be taken for nothing.
fn holds(text: &str) -> bool {
    text.contains(SECRET) || text.contains("hush") || text.contains("9xW")
}

#[test]
fn no_file_makes_a_diagnostic_show_a_secret() {
    let names = [
        "sasl.password",
        "sasl.pasword",
        "sasl.username",
        "sasl.jaas.config",
        "ssl.key.password",
        "ssl.keypassword",
        "ssl.key.pem",
        "ssl.keystore.password",
        "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.config",
        "passwd",
        "token",
        "group.id",
        "enable.auto.commit",
        "credentials",
        "write_token",
        "admin_token",
        "x",
    ];
    // `NAME` is each of the names, `SECRET` the secret; what is wrong stands on its line or near it.
    let lines = [
        "  NAME: SECRET\n",
        "  NAME: SECRET\n  security.protocol: SASL_SSL\nlog_level: loud\n",
        "  NAME: 'SECRET\n",
        "  NAME: \"SECRET\n",
        "  NAME: a: SECRET\n",
        "  NAME: SECRET: a\n",
        "  NAME: 'a' SECRET\n",
        "  NAME: [SECRET\n",
        "  NAME: [a, SECRET]\n",
        "  NAME: {a: SECRET}\n",
        "  NAME: &SECRET a\n",
        "  NAME: *SECRET\n",
        "  NAME: !SECRET a\n",
        "  NAME: @SECRET\n",
        "  NAME: %SECRET\n",
        "  NAME: `SECRET\n",
        "  NAME SECRET\n",
        "  NAME=SECRET\n",
        "  NAME:SECRET\n",
        "\tNAME: SECRET\n",
        "  NAME:\tSECRET\t: a\n",
        "  NAME: |\n    SECRET\n   SECRET\n",
        "  NAME: a # SECRET\n x: y\n",
        "  NAME: SECRET\n  NAME: SECRET\n",
        "  NAME: a\n   SECRET: b\n",
        "  - SECRET\n",
        "  SECRET\n",
        "  SECRET: a\n",
        "  {NAME: a, SECRET}\n",
        "  {NAME: SECRET\n",
        "NAME: SECRET\n",
        "NAME: SECRET\nNAME: SECRET\n",
        "SECRET: a\n",
        "SECRET\n",
        "--- SECRET\n",
        "  NAME: ''\n# SECRET\n",
        "  NAME: ]SECRET\n",
        "  NAME: \"\\q SECRET\"\n",
        "  NAME: SECRET\n---\nNAME: SECRET\n",
        "  ? {NAME: SECRET}\n  : SECRET\n",
        "brokers: kim:SECRET@kafka-1:9092\n",
        "listen: kim@SECRET\n",
        "brokers: SASL_SSL://kim:SECRET\n",
        "log_level:\n  NAME: SECRET\n",
        "hosts:\n  NAME: SECRET\n",
        "hosts:\n  - NAME: SECRET\n",
        "hosts:\n  - a\n  - [{NAME: SECRET}]\n",
        "memory: {NAME: {a: SECRET}}\n",
        "fields: {customer_id: \"x|\", NAME: SECRET}\n",
        "fields:\n  customer_id: \"x|\"\n  NAME:\n    customer_id: SECRET\n",
    ];
    let mut faulty = 0;
    for name in names {
        for line in lines {
            let file = format!("{GOOD}properties:\n{line}").replace("NAME", name).replace("SECRET", SECRET);
            // The same without anything before it, and at the end of a file that has another fault.
            for file in [file.clone(), line.replace("NAME", name).replace("SECRET", SECRET), format!("modles: 1\n{file}")] {
                let told = told(&file, &[]);
                faulty += usize::from(!told.is_empty());
                assert!(!holds(&told), "of\n{file}\nis told\n{told}");
            }
        }
    }
    assert!(faulty > 1_000, "{faulty}: files without a fault try nothing");
}

/// The same in `deliver.yaml`, where people may write the secret itself in place of where it is.
#[test]
fn no_file_of_destinations_makes_a_diagnostic_show_a_secret() {
    let of_crm = "destinations:\n  crm:\n    preset: webhook\n    url: https://crm.example\n";
    let of_widget = "widget:\n  origins: [https://shop.example]\n  audience: shop\n  keys:\n    web:\n";
    let own = "destinations:\n  crm:\n    url: https://crm.example\n    offer:\n      post: /hook\n";
    let (mut told_of, mut told_plain) = (0, 0);
    for (begin, names) in [
        (of_crm, ["secret", "signing_secret", "sekret", "values", "authorities", "url", "token", "x"].as_slice()),
        (of_widget, &["secret", "public_key", "algorithm: HS256\n      secret", "secrt"]),
        (
            of_crm,
            &["channels: { x: y, secret", "rate: [{ secret", "timeout:\n      secret", "interventions:\n      - secret"],
        ),
        (own, &["  headers", "  body", "  keep", "  fine", "secret", "  hedders"]),
    ] {
        for name in names {
            for value in [
                " SECRET\n",
                " { variable: SECRET }\n",
                " { file: SECRET }\n",
                " { varible: SECRET }\n",
                " { SECRET: a }\n",
                " { group: SECRET }\n",
                " { listen: SECRET }\n",
                " { x: { timeout: SECRET } }\n",
                " [SECRET]\n",
                " { authorization: \"Bearer SECRET {{ x\" }\n",
                " { authorization: 'SECRET }\n",
                " 'SECRET\n",
                " a: SECRET\n",
                "SECRET\n",
                " |\n     SECRET\n  SECRET\n",
                " https://kim:SECRET@crm.example\n",
                " https://crm.example/services/SECRET?x\n",
                " a # SECRET\n  modles: 1\n",
            ] {
                for end in ["", "listen: nowhere\n"] {
                    let file = format!("{begin}    {name}:{value}{end}").replace("SECRET", SECRET);
                    let (_, faults) = settings::load(Path::new("etc/deliver.yaml"), &file, &|_| None);
                    let told = render(&faults, Style::Plain) + &render(&faults, Style::Coloured);
                    told_of += usize::from(!told.is_empty());
                    told_plain += usize::from(told.contains("listen: nowhere"));
                    assert!(!holds(&told), "of\n{file}\nis told\n{told}");
                }
            }
        }
    }
    assert!(told_of > 400 && told_plain > 100, "{told_of} files with a fault, {told_plain} that show a plain setting");
}

#[test]
fn no_variable_makes_a_diagnostic_show_a_secret() {
    for name in [
        "SILLAGE_PROPERTY_SASL_PASSWORD",
        "SILLAGE_PROPERTY_SASL_PASWORD",
        "SILLAGE_PROPRTY_SASL_PASSWORD",
        "SILLAGE_SASL_PASSWORD",
        "SILLAGE_PASSWORD",
        "SILLAGE_PROPERTIES",
        "SILLAGE_PROPERTY_",
        "SILLAGE_PROPERTY_GROUP_ID",
        "SILLAGE_PROPERTY_SASL_JAAS_CONFIG",
        "SILLAGE_PROPERTY_SASL_PASSWORD_FILE",
        "SILLAGE_PROPERTY__FILE",
        "SILLAGE_FIELDS",
        "SILLAGE_",
        "SILLAGE_TOKEN",
        "SILLAGE_WRITE_TOKEN",
        "SILLAGE_ADMIN_TOKEN_FILE",
        "SILLAGE_WRITE_TOKN",
        "SILLAGE_MODLES",
        "SILLAGE_PROPERTY_SSL_KEY_PEM",
    ] {
        for value in [SECRET.to_owned(), format!("a: '{SECRET}"), format!("\n{SECRET}\n"), format!(" {SECRET}")] {
            for file in [GOOD, "", "modles: [a", "models: [five-stages.yaml]\n"] {
                let told = told(file, &[(name, &value)]);
                assert!(!holds(&told), "of {name}={value:?} is told\n{told}");
            }
        }
    }
    let told = told(GOOD, &[("SILLAGE_BROKERS", "kim:Zq7-hush_9xW@kafka-1:9092")]);
    assert!(told.contains("C007") && !holds(&told), "{told}");
}

/// Each property that librdkafka has, right and with each of its letters left out, in a file that has a fault on the property's
/// own line, near it, or that is no YAML; and as a variable.
#[test]
fn no_property_shows_what_it_was_given_however_it_is_misspelt() {
    let names = include_str!("../../src/config/properties.txt");
    let (mut told_of, mut misspelt) = (0, 0);
    // These name settings of the service as well, which anybody may read.
    let plain = ["partitioner", "log_level", "group.protocol"];
    for name in names.lines().filter(|name| !plain.contains(name)).chain(KEYS_OF_TOKENS) {
        let secret = ["pass", "secret", "pem", "jaas", "token"].iter().any(|word| name.contains(word));
        let letters = name.char_indices().filter(|(_, letter)| secret && letter.is_ascii_alphabetic());
        let wrong = letters.map(|(at, _)| [&name[..at], &name[at + 1..]].concat());
        for name in std::iter::once(name.to_owned()).chain(wrong) {
            misspelt += 1;
            let files = [
                format!("{GOOD}{name}: {SECRET}\n"),
                format!("{GOOD}log_level: loud\n{name}: {SECRET}\n"),
                format!("{GOOD}properties:\n  {name}: {SECRET}\n  security.protocol: SASL_SSL\nlog_level: loud\n"),
                format!("{GOOD}properties:\n  {name}: [{SECRET}]\n"),
                format!("{GOOD}properties:\n  {name}: '{SECRET}\n"),
                format!("{GOOD}properties:\n  {name}:{SECRET}\n"),
            ];
            for file in files {
                let told = told(&file, &[]);
                told_of += usize::from(!told.is_empty());
                assert!(!holds(&told), "of\n{file}\nis told\n{told}");
            }
            let name = name.to_ascii_uppercase().replace('.', "_");
            for variable in [format!("SILLAGE_PROPERTY_{name}"), format!("SILLAGE_{name}"), format!("SILLAGE_{name}_FILE")] {
                let told = told("modles: [a", &[(&variable, SECRET)]) + &told(GOOD, &[(&variable, SECRET)]);
                assert!(!holds(&told), "of {variable} is told\n{told}");
            }
        }
    }
    assert!(misspelt > 300 && told_of > misspelt * 3, "{misspelt} names, {told_of} files with a fault");
}

const KEYS_OF_TOKENS: [&str; 4] = ["read_token", "write_token", "erase_token", "admin_token"];

#[test]
fn a_plain_setting_is_still_shown() {
    let told = told(&format!("{GOOD}log_level: loud\n"), &[("SILLAGE_WORKERS", "many")]);
    assert!(told.contains("log_level: loud") && told.contains("SILLAGE_WORKERS=many"), "{told}");
}

#[test]
fn a_property_comes_from_a_file_without_its_last_newline() {
    let folder = tempfile::tempdir().expect("a folder");
    for (written, read) in [("a b\n", "a b"), ("a\r\n", "a"), ("a\n\n", "a\n"), (" a", " a")] {
        let file = folder.path().join("password");
        std::fs::write(&file, written).expect("written");
        let name = "SILLAGE_PROPERTY_SASL_PASSWORD_FILE".to_owned();
        let variables = vec![(name, file.display().to_string())];
        let (config, faults) =
            config::load(Path::new("etc/s.yaml"), GOOD, &Surroundings { variables, host: "shop-1".to_owned(), memory: 0 });
        assert_eq!(faults, []);
        let config::Log::Kafka(kafka) = config.expect("good").log else { panic!("brokers mean Kafka") };
        assert_eq!(kafka.connection.properties.get("sasl.password").map(String::as_str), Some(read));
    }
}

/// What librdkafka says of values that it does not take, as people see it; each is given in a file, and by a variable.
#[test]
fn no_client_shows_a_secret_when_it_refuses_one() {
    let properties = [
        "sasl.pasword: SECRET",
        "ssl.key.password: SECRET",
        "sasl.jaas.config: 'a password=\"SECRET\";'",
        "sasl.password: SECRET",
        "sasl.oauthbearer.config: 'x=SECRET y'",
        "ssl.key.pem: SECRET",
        "passwd: SECRET",
        "ssl.keystore.password: SECRET",
        "sasl.oauthbearer.client.secret: SECRET",
        "enable.sasl.oauthbearer.unsecure.jwt: SECRET",
        "x: SECRET",
    ];
    std::thread::scope(|scope| {
        for property in properties {
            scope.spawn(move || {
                let line = property.replace("SECRET", SECRET);
                refuses(property, &format!("properties:\n  {line}\n"), &[]);
                let (name, value) = line.split_once(": ").expect("a name and a value");
                let name = format!("SILLAGE_PROPERTY_{}", name.to_ascii_uppercase().replace('.', "_"));
                refuses(property, "", &[(name.as_str(), value.trim_matches('\''))]);
            });
        }
    });
}

/// Runs with these lines and variables, and ends without a broker; nothing that it says holds the secret.
fn refuses(what: &str, lines: &str, variables: &[(&str, &str)]) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("sillage.yaml");
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/five-stages.yaml");
    let lines = format!(
        "models: [{}]\nbrokers: localhost:1\nstart: latest\nlisten: 127.0.0.1:0\nlog_level: debug\n{lines}",
        model.display(),
    );
    std::fs::write(&file, &lines).expect("written");
    let mut command = Command::new("timeout");
    command.args([
        "--preserve-status",
        "-s",
        "TERM",
        "60",
        env!("CARGO_BIN_EXE_sillage"),
        "run",
        "--exit-on-unreachable",
        "-c",
    ]);
    let ended = command.arg(&file).envs(variables.iter().copied()).output().expect("sillage runs");
    assert_eq!(ended.status.code(), Some(2), "{what}");
    let told = String::from_utf8_lossy(&ended.stderr).into_owned() + &String::from_utf8_lossy(&ended.stdout);
    assert!(!told.is_empty() && !holds(&told), "{what}: {told}");
}
