#include "tools/page/lab_feed.hpp"

#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "tools/lab/state.hpp"

namespace shmif::tools {

LabFeed::LabFeed(ServedLab lab)
    : lab_(std::move(lab)), hosts_(std::make_shared<const Json>(Json::array())) {}

Json LabFeed::look() {
  // Read each time, because `down` and `up` may have made the lab anew.
  const std::optional<LabState> state = read_lab_state(lab_.folder, lab_.name);
  const bool alive = state && runs(lab_.folder, *state);
  if (state) {
    Json hosts = Json::array();
    for (const LabStateHost& host : state->hosts)
      hosts.push_back({{"name", host.name}, {"buses", host.buses}});
    hosts_ = std::make_shared<const Json>(std::move(hosts));
  }
  return {{"name", lab_.name},
          {"file", lab_.file},
          {"state", !alive         ? "down"
                    : state->ready ? "up"
                                   : "starting"},
          {"hosts", *hosts_}};
}

}  // namespace shmif::tools
