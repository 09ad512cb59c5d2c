#include "tools/capture/capture_file.hpp"

#include <utility>

#include "base/result.hpp"
#include "tools/common/command.hpp"
#include "tools/common/version.hpp"

namespace shmif::tools {

CaptureWriter create_capture(const std::string& file, CaptureFormat format,
                             std::uint32_t snap_bytes, const std::string& comment) {
  if (!is_pcapng(file, format)) {
    return CaptureWriter(std::move(PcapWriter::create(file, {.snap_bytes = snap_bytes})).value());
  }
  PcapngWriteOptions options;
  options.snap_bytes = snap_bytes;
  options.application = std::string(program_name()) + ' ' + version_number();
  options.comment = comment;
  return CaptureWriter(std::move(PcapngWriter::create(file, options)).value());
}

}  // namespace shmif::tools
