#pragma once
// The commands whose first operand is a bus. DefaultBus compares them with the helps.

#include <string>
#include <vector>

#include "tests/support/run_tool.hpp"

namespace shmif::test {

struct BusLine {
  std::string command;
  Words rest;          ///< of a line that lacks only the bus
  bool stays = false;  ///< on a sound bus it ends only at a signal

  Words on(const std::string& bus) const { return Words{command, bus} + rest; }
};

inline const std::vector<BusLine> kBusLines{
    {"audit", {}},
    {"changes", {}},
    {"create", {}},
    {"dump", {"--timeout", "0"}},
    {"enter", {"web", "--", "true"}},
    {"exec", {"--", "true"}},
    {"fault", {"web"}},
    {"gateway", {}, true},
    {"heal", {"--timeout", "0.01"}},
    {"heat", {}},
    {"inject", {"/dev/null"}},
    {"link", {"web", "--up", "--timeout", "0.01"}},
    {"move", {"web", "/dev/null", "--timeout", "0.01"}},
    {"partition", {"web", "/", "db", "--timeout", "0.01"}},
    {"ping", {"-c", "1", "--timeout", "0.01"}},
    {"ps", {}},
    {"repair", {}},
    {"serve", {"--http", "127.0.0.1:0", "--timeout", "0.01"}},
    {"stat", {}},
    {"stop", {"web"}},
    {"tap", {}, true},
    {"top", {"-n", "1"}},
    {"uplink", {"--stdio"}},
    {"wait", {"--port", "web", "--timeout", "0"}},
};

}  // namespace shmif::test
