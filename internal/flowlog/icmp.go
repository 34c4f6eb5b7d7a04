package flowlog

// Protocols with a type and a code instead of ports.
const (
	icmp4 = "icmp"
	icmp6 = "icmp6"
)

// highestCode is the highest code of those types of ICMP (v4) that are in use (IANA's
// "ICMP Type Numbers").
var highestCode = map[uint8]uint8{
	0: 0, 3: 15, 4: 0, 5: 3, 8: 0, 9: 16, 10: 0, 11: 1, 12: 2, 13: 0, 14: 0, 42: 0, 43: 4,
}

// SetPort takes what Calico has for a destination port: for ICMP that is type and code in
// one number. Calico's iptables and nftables dataplanes send type<<8|code for v4 and 0,
// which says nothing, for v6. The eBPF dataplane has type and code in the other order, for
// both: a ping arrives as 8, and of v6 as 128. Transport must be set.
func (f *Flow) SetPort(port int64) {
	high, low := uint8(port>>8), uint8(port)
	switch {
	case f.Transport == icmp4:
		if !isICMP(high, low) && isICMP(low, high) {
			high, low = low, high
		}
		f.ICMP = int32(high)<<8 | int32(low) + 1
	case f.Transport == icmp6 && port != 0:
		f.ICMP = int32(low)<<8 | int32(high) + 1
	case f.Transport != icmp6:
		f.Port = port
	}
}

func isICMP(kind, code uint8) bool {
	most, ok := highestCode[kind]
	return ok && code <= most
}
