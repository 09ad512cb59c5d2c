#pragma once
// Features of an interface, as `ethtool -k` shows them. Internal to tap/.

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.hpp"

namespace shmif::tap {

/// The features of an interface. Threads: one at a time. Blocks: never. Errors: an errno.
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
