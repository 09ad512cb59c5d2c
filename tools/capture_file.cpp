#include "tools/capture_file.hpp"

#include <utility>

#include "bus/result.hpp"
#include "shmif/bus.hpp"

namespace shmif::tools {

PcapWriter create_capture(const std::string& file) {
  if (file != "-" && Bus::open(file)) {
    throw Exception(Error(Errc::exists, "cannot record into \"" + file +
                                            "\": it is a bus, and would be destroyed (name "
                                            "another file)"));
  }
  return std::move(PcapWriter::create(file)).value();
}

}  // namespace shmif::tools
