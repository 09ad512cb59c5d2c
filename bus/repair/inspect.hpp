#pragma once
// A bus of our own format, seen from outside.

#include <memory>
#include <string>

#include "base/result.hpp"
#include "bus/attachment.hpp"
#include "bus/file/file.hpp"
#include "bus/info.hpp"

namespace shmif::bus {

class NativeInspector final : public Inspector {
 public:
  /// `file` was checked. `access`: as it was opened; repair needs read_write.
  static Result<std::unique_ptr<Inspector>> open(OpenFile file, const std::string& path,
                                                 Access access);
  ~NativeInspector() override;

  BusInfo info() const override;
  AuditReport audit() const override;
  Result<RepairReport> repair(const RepairOptions& options) override;
  int descriptor() const noexcept override;
  const std::string& path() const noexcept override;
  const std::string& warning() const noexcept override;
  std::string hidden_by() const override;

 private:
  struct Impl;
  explicit NativeInspector(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace shmif::bus
