//! Which addresses may be connected to. Pure.
//!
//! An address that is not public leads into somebody's network: a receiver's name that is pointed there (by mistake, or on
//! purpose) would have Sillage ask machines that trust it. What an IPv6 address carries inside (mapped, NAT64, 6to4, Teredo)
//! is judged as well.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an address is not connected to; `None` where it is public.
pub fn refusal(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => v4(address),
        IpAddr::V6(address) => v6(address),
    }
}

/// Networks of IPv4 that nobody outside of them is reached in: the first bits, how many, and what they are for.
const V4: &[(Ipv4Addr, u32, &str)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8, "this network"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "private"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "shared by a provider (CGNAT)"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "loopback"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "link-local"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "private"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "reserved"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "for documentation"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "a relay of 6to4"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "private"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "for benchmarks"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "for documentation"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "for documentation"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "multicast"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved"),
];

fn v4(address: Ipv4Addr) -> Option<&'static str> {
    let within = |network: Ipv4Addr, bits: u32| (address.to_bits() ^ network.to_bits()) >> (32 - bits) == 0;
    V4.iter().find(|(network, bits, _)| within(*network, *bits)).map(|(_, _, why)| *why)
}

/// Networks of IPv6 that are refused whatever they carry, as the first 32 bits.
const V6: &[(u32, u32, &str)] = &[
    (0xfc00_0000, 7, "private (ULA)"),
    (0xfe80_0000, 10, "link-local"),
    (0xfec0_0000, 10, "site-local"),
    (0xff00_0000, 8, "multicast"),
    (0x2001_0db8, 32, "for documentation"),
    (0x3fff_0000, 20, "for documentation"),
    (0x0100_0000, 32, "discarded"),
    (0x5f00_0000, 16, "for segment routing"),
];

fn v6(address: Ipv6Addr) -> Option<&'static str> {
    if address.is_unspecified() {
        return Some("this network");
    }
    if address.is_loopback() {
        return Some("loopback");
    }
    let segments = address.segments();
    let first = (u32::from(segments[0]) << 16) | u32::from(segments[1]);
    if let Some((_, _, why)) = V6.iter().find(|(network, bits, _)| (first ^ network) >> (32 - bits) == 0) {
        return Some(why);
    }
    match segments {
        // ::ffff:0:0/96 (mapped), ::/96 (compatible), ::ffff:0:0:0/96 (translated).
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0, 0, 0, 0, 0, 0, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => {
            v4(inner(high, low))
        }
        // NAT64: the well-known prefix carries an address; the local one leads into somebody's network.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(inner(high, low)),
        [0x64, 0xff9b, ..] => Some("NAT64 of a local network"),
        // 6to4 carries it behind the prefix, Teredo the server's there and the client's inverted at the end.
        [0x2002, high, low, ..] => v4(inner(high, low)),
        [0x2001, 0, ..] => Some("Teredo"),
        // Nothing else is global unicast.
        [first, ..] if first >> 13 != 1 => Some("reserved"),
        _ => None,
    }
}

fn inner(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_connected_to() {
        for (address, is_public) in [
            ("8.8.8.8", true),
            ("93.184.215.14", true),
            ("172.32.0.1", true),
            ("100.63.255.255", true),
            ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", true),
            ("64:ff9b::808:808", true),
            ("::ffff:8.8.8.8", true),
            ("2002:808:808::1", true),
            ("0.0.0.0", false),
            ("10.0.0.1", false),
            ("100.64.0.1", false),
            ("100.127.255.255", false),
            ("127.0.0.1", false),
            ("127.8.8.8", false),
            ("169.254.169.254", false),
            ("172.16.0.1", false),
            ("172.31.255.255", false),
            ("192.0.0.8", false),
            ("192.168.1.1", false),
            ("198.19.0.1", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("::", false),
            ("::1", false),
            ("::ffff:10.0.0.1", false),
            ("::ffff:127.0.0.1", false),
            ("::7f00:1", false),
            ("::ffff:0:a00:1", false),
            ("64:ff9b::a00:1", false),
            ("64:ff9b::7f00:1", false),
            ("64:ff9b:1::808:808", false),
            ("2002:a00:1::1", false),
            ("2001:0:808:808::1", false),
            ("fc00::1", false),
            ("fd12:3456::1", false),
            ("fe80::1", false),
            ("fec0::1", false),
            ("ff02::1", false),
            ("2001:db8::1", false),
            ("100::1", false),
            ("4000::1", false),
        ] {
            let address: IpAddr = address.parse().expect("an address");
            assert_eq!(refusal(address).is_none(), is_public, "{address}: {:?}", refusal(address));
        }
    }
}
