#pragma once
// Puts fragments together again, sharing no code with what cut them, and compares each field of
// them and the result with the packet that was cut.

#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

#include "tests/support/super_frames.hpp"

namespace shmif::test {

inline std::string differ(const char* what, std::size_t got, std::size_t should) {
  return std::string(what) + " is " + std::to_string(got) + " and should be " +
         std::to_string(should);
}

/// Puts IPv4 fragments together and compares the result with `whole`, which was cut. `later`: the
/// options of all fragments but the first. Result: what is wrong; empty: nothing.
inline std::string wrong_v4(const Bytes& whole, const std::vector<Bytes>& pieces, std::size_t l3,
                            std::size_t mtu, const Bytes& later) {
  const std::size_t header = 4 * (u8(whole, l3) & 15U);
  const std::size_t packet = u16(whole, l3 + 2);
  const unsigned first_offset = u16(whole, l3 + 6) & 0x1fffU;
  Bytes together(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(l3 + header));
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const Bytes& p = pieces[i];
    const bool last = i + 1 == pieces.size();
    if (p.size() <= l3 + header) return "a fragment without payload";
    if (p.size() - l3 > mtu) return differ("a length", p.size() - l3, mtu);
    if (!last && p.size() - l3 + 8 <= mtu) return "a fragment that is shorter than need be";
    const std::size_t carried = p.size() - l3 - header;
    if (!last && carried % 8 != 0) return differ("a payload that is not the last", carried, 8);
    if (!std::equal(p.begin(), p.begin() + static_cast<std::ptrdiff_t>(l3 + 2), whole.begin()))
      return "MACs, tags, type, version or TOS differ";
    if (u16(p, l3 + 2) != p.size() - l3)
      return differ("total length", u16(p, l3 + 2), p.size() - l3);
    if (u16(p, l3 + 4) != u16(whole, l3 + 4)) return "another identification";
    const unsigned flags = u16(whole, l3 + 6) & 0xc000U;
    const unsigned more = last ? u16(whole, l3 + 6) & 0x2000U : 0x2000U;
    const auto offset = static_cast<unsigned>(first_offset + (together.size() - l3 - header) / 8);
    if (u16(p, l3 + 6) != (flags | more | offset))
      return differ("flags and offset", u16(p, l3 + 6), flags | more | offset);
    if (u16(p, l3 + 8) != u16(whole, l3 + 8)) return "another TTL or protocol";
    if (u32(p, l3 + 12) != u32(whole, l3 + 12) || u32(p, l3 + 16) != u32(whole, l3 + 16))
      return "another address";
    if (plain_sum(p, l3, l3 + header) != 0xffff) return "a wrong header checksum";
    const Bytes options(p.begin() + static_cast<std::ptrdiff_t>(l3 + 20),
                        p.begin() + static_cast<std::ptrdiff_t>(l3 + header));
    const Bytes first(whole.begin() + static_cast<std::ptrdiff_t>(l3 + 20),
                      whole.begin() + static_cast<std::ptrdiff_t>(l3 + header));
    if (options != (i == 0 ? first : later))
      return "options of fragment " + std::to_string(i) + " differ";
    together.insert(together.end(), p.begin() + static_cast<std::ptrdiff_t>(l3 + header), p.end());
  }
  const Bytes should(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(l3 + packet));
  return together == should ? "" : "what is put together differs";
}

struct Together {
  std::string wrong;
  unsigned identification = 0;
};

/// Puts IPv6 fragments together and compares the result with `whole`. `each`: bytes of the headers
/// that each fragment must have, the IPv6 header included. `type_at`: where in the frame the last
/// of them says what comes next.
inline Together together_v6(const Bytes& whole, const std::vector<Bytes>& pieces, std::size_t l3,
                            std::size_t each, std::size_t type_at, std::size_t mtu) {
  const std::size_t packet = 40 + u16(whole, l3 + 4);
  const std::size_t split = l3 + each;
  Bytes together(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(split));
  Together result;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const Bytes& p = pieces[i];
    const bool last = i + 1 == pieces.size();
    if (p.size() <= split + 8) return {"a fragment without payload"};
    if (p.size() - l3 > mtu) return {differ("a length", p.size() - l3, mtu)};
    if (!last && p.size() - l3 + 8 <= mtu) return {"a fragment that is shorter than need be"};
    const std::size_t carried = p.size() - split - 8;
    if (!last && carried % 8 != 0) return {differ("a payload that is not the last", carried, 8)};
    if (u16(p, l3 + 4) != p.size() - l3 - 40)
      return {differ("payload length", u16(p, l3 + 4), p.size() - l3 - 40)};
    Bytes headers(p.begin(), p.begin() + static_cast<std::ptrdiff_t>(split));
    if (u8(headers, type_at) != 44) return {"no Fragment header is announced"};
    if (u8(p, split) != u8(whole, type_at)) return {"another header behind the Fragment header"};
    headers[type_at] = whole[type_at];
    set16(headers, l3 + 4, u16(whole, l3 + 4));
    if (!std::equal(headers.begin(), headers.end(), whole.begin())) return {"a header differs"};
    if (u8(p, split + 1) != 0) return {"the reserved byte is not 0"};
    const std::size_t at = together.size() - split;
    if (u16(p, split + 2) != (at | (last ? 0U : 1U)))
      return {differ("offset and flag", u16(p, split + 2), at | (last ? 0U : 1U))};
    if (i == 0) result.identification = u32(p, split + 4);
    if (u32(p, split + 4) != result.identification) return {"another identification"};
    together.insert(together.end(), p.begin() + static_cast<std::ptrdiff_t>(split + 8), p.end());
  }
  const Bytes should(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(l3 + packet));
  if (together != should) result.wrong = "what is put together differs";
  return result;
}

}  // namespace shmif::test
