#pragma once
// Settings of an interface: its carrier, its features. Internal to tap/, but set_carrier().

#include <cstdint>
#include <string>
#include <system_error>
#include <vector>

#include "base/result.hpp"
#include "bus/info.hpp"

namespace shmif::tap {

/// Gives the interface behind our end carrier (the cable, as the host behind it sees it), or takes
/// the carrier away. `descriptor`: of the
/// TapLink (`kind` tap), or of the PacketLink on our end of a veth pair (`kind` veth). For veth,
/// our end goes up or down. Threads: any. Blocks: never. Errors: not_supported for another kind,
/// an errno.
[[nodiscard]] std::error_code set_carrier(int descriptor, LinkKind kind, bool on) noexcept;

/// The features of an interface, as `ethtool -k` shows them. Threads: one at a time. Blocks: never.
/// Errors: an errno.
class Features {
 public:
  /// `control`: a socket in the interface's namespace, which must outlive this.
  static Result<Features> read(int control, const std::string& interface);

  struct Feature {
    std::string name;  ///< "tx-tcp-segmentation"
    bool active = false;
    bool requested = false;  ///< on, if the device is able to
  };
  const std::vector<Feature>& all() const noexcept { return all_; }

  /// For each feature for which `which` is true, requests the state that `on` returns. Some
  /// features can never change; that is not an error.
  template <class Which, class On>
  Result<void> request(Which which, On on) {
    std::vector<std::uint32_t> valid((all_.size() + 31) / 32);
    std::vector<std::uint32_t> values(valid.size());
    for (std::size_t i = 0; i < all_.size(); ++i) {
      if (!which(all_[i])) continue;
      valid[i / 32] |= 1U << i % 32;
      if (on(all_[i])) values[i / 32] |= 1U << i % 32;
    }
    return request(valid, values);
  }

 private:
  Result<void> request(const std::vector<std::uint32_t>& valid,
                       const std::vector<std::uint32_t>& values);

  int control_ = -1;
  std::string interface_;
  std::vector<Feature> all_;
};

}  // namespace shmif::tap
