#include "perf/option/profiles.hpp"

#include <algorithm>

#include "base/nearest.hpp"

namespace shmif::perf {

const std::vector<Profile>& profiles() {
  static const std::vector<Profile> all{
      {"ping", "round trips of small frames, one at a time, 1000 a second for 5 s",
       R"([ping]
rw=pingpong
bs=64
rate_iops=1k
iodepth=1
runtime=5
)"},
      {"imix", "the mix of frame sizes of the Internet, at full speed for 10 s",
       R"([imix]
rw=tx
bs=imix
runtime=10
)"},
      {"rfc2544", "for each frame size of RFC 2544, the highest rate at which no frame is lost",
       R"(; RFC 2544, section 26.1, for the frame sizes of section 9.1. Those count the FCS of four
; bytes, which the jobs are named after; bs does not.
[global]
rw=tx
search=ndr
; A bus delivers within microseconds; the two seconds of section 24 are for boxes with queues.
drain_time=200ms

[rfc2544-64]
bs=60
[rfc2544-128]
stonewall
bs=124
[rfc2544-256]
stonewall
bs=252
[rfc2544-512]
stonewall
bs=508
[rfc2544-1024]
stonewall
bs=1020
[rfc2544-1280]
stonewall
bs=1276
[rfc2544-1518]
stonewall
bs=1514
)"},
      {"voip", "20 voice calls with a packet every 20 ms: latency and jitter, for 10 s",
       R"(; About what G.711 makes every 20 ms: 160 bytes of speech, and headers. Each call is a
; thread, for there are many and each does little.
[voip]
rw=tx
bs=200
rate_iops=50
numjobs=20
thread
group_reporting
runtime=10
)"},
      {"bulk", "the largest ordinary frames, at full speed for 10 s",
       R"([bulk]
rw=tx
bs=1514
runtime=10
)"},
      {"hosts", "TCP, UDP and round trips between emulated hosts, side by side for 15 s",
       R"(; Each job and each of its peers is a host with a kernel's IP stack of its own.
[global]
engine=host
runtime=15
bus_size=64M

[tcp]
rw=tx
proto=tcp
bs=1514

[udp]
new_group
rw=tx
proto=udp
bs=1000
rate=50Mbit

[ping]
new_group
rw=pingpong
proto=udp
bs=128
rate_iops=100
iodepth=1
)"},
  };
  return all;
}

const Profile* find_profile(std::string_view name) {
  const std::vector<Profile>& all = profiles();
  const auto it =
      std::find_if(all.begin(), all.end(), [&](const Profile& p) { return p.name == name; });
  return it == all.end() ? nullptr : &*it;
}

std::string unknown_profile(std::string_view name) {
  std::vector<std::string> known;
  std::string list;
  for (const Profile& profile : profiles()) {
    known.emplace_back(profile.name);
    list += (list.empty() ? "" : ", ") + known.back();
  }
  const std::string what = "unknown profile \"" + std::string(name) + '"';
  if (const auto meant = base::nearest(name, known))
    return what + ", did you mean \"" + *meant + "\"?";
  return what + " (the profiles are " + list + ')';
}

}  // namespace shmif::perf
