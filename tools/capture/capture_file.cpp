#include "tools/capture/capture_file.hpp"

#include <algorithm>
#include <utility>

#include "base/result.hpp"
#include "tools/common/command.hpp"
#include "tools/common/version.hpp"

namespace shmif::tools {

void say_long_gap(const std::string& file, std::chrono::nanoseconds left) {
  const auto whole = std::chrono::duration_cast<std::chrono::minutes>(left).count();
  constexpr std::int64_t kMinutesInHour = 60;
  constexpr std::int64_t kHoursInDay = 24;
  std::string when = std::to_string(whole) + (whole == 1 ? " minute" : " minutes");
  if (whole >= 2 * kMinutesInHour) when = std::to_string(whole / kMinutesInHour) + " hours";
  if (whole >= 2 * kMinutesInHour * kHoursInDay)
    when = std::to_string(whole / kMinutesInHour / kHoursInDay) + " days";
  complain("the next frame of \"" + file + "\" is due only in " + when +
           ": so far apart its times are (--max-gap 1 waits at most a second)");
}

std::chrono::nanoseconds max_gap_of(const Arguments& args) {
  const auto given = args.seconds("max-gap");
  // --max-gap 0 allows no gaps. It becomes the shortest gap, because 0 stands for "not given".
  return given ? std::max(*given, std::chrono::nanoseconds(1)) : std::chrono::nanoseconds(0);
}

CaptureWriter create_capture(const std::string& file, CaptureFormat format,
                             std::uint32_t snap_bytes, const std::string& comment,
                             int stop_descriptor) {
  if (!is_pcapng(file, format)) {
    return CaptureWriter(std::move(PcapWriter::create(file, {.snap_bytes = snap_bytes,
                                                             .stop_descriptor = stop_descriptor}))
                             .value());
  }
  PcapngWriteOptions options;
  options.snap_bytes = snap_bytes;
  options.application = std::string(program_name()) + ' ' + version_number();
  options.comment = comment;
  options.stop_descriptor = stop_descriptor;
  return CaptureWriter(std::move(PcapngWriter::create(file, options)).value());
}

}  // namespace shmif::tools
