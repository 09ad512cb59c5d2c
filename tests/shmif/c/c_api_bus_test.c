/* Looking at a bus through the C facade: what it tells of the bus and of its ports, and what it
 * refuses. `c_api_bus_test CASE` runs one case. */

#include "tests/shmif/c/c_api_rig.h"

#include <sys/wait.h>

static struct shmif_bus_info info_of_bus(void) {
  struct shmif_bus_info info = {.size = sizeof info};
  CHECK(shmif_inspect(g_path, &info) == 0);
  CHECK(info.size == sizeof info);
  return info;
}

static void a_bus_tells_what_it_is_and_what_happened_on_it(void) {
  CHECK(shmif_destroy(g_path, 0) == 0);
  const struct shmif_bus_options options = {
      .size = sizeof options, .ring_bytes = 1 << 21, .mtu = 4000, .patience_ns = 7000000};
  CHECK(shmif_create(g_path, &options) == 0);
  struct shmif_bus_info info = info_of_bus();
  CHECK(info.format == SHMIF_FORMAT_SHMIF && info.mtu == 4000 && info.ring_bytes == 1 << 21);
  CHECK(info.patience_ns == 7000000 && info.carries_offloads == 1 && info.repairs == 0);
  CHECK(info.ports == 0 && info.max_ports > 100 && info.frames == 0 && info.created_ns > 0);
  shmif_port* sender = open_port_up("sender");
  shmif_port* other = open_port("other");
  send_many(sender, 5);
  info = info_of_bus();
  CHECK(info.ports == 2 && info.frames == 5);
  CHECK(shmif_bus_frames(sender) == 5 && shmif_bus_frames(other) == 5);
  shmif_close(sender);
  shmif_close(other);

  /* Half of it, for a program that knows no more. */
  memset(&info, 0xee, sizeof info);
  info.size = offsetof(struct shmif_bus_info, ring_bytes);
  CHECK(shmif_inspect(g_path, &info) == 0);
  CHECK(info.mtu == 4000 && info.ring_bytes == 0xeeeeeeeeeeeeeeeeU);
}

static void a_bus_of_netbsds_format_has_no_list_of_ports(void) {
  const struct shmif_bus_options options = {.size = sizeof options, .format = SHMIF_FORMAT_NETBSD};
  CHECK(shmif_destroy(g_path, 0) == 0 && shmif_create(g_path, &options) == 0);
  const struct shmif_bus_info info = info_of_bus();
  CHECK(info.format == SHMIF_FORMAT_NETBSD && info.mtu == 1500 && info.max_ports == 0);
  CHECK(shmif_list_ports(g_path, NULL, 0) == -EOPNOTSUPP);
  CHECK(strstr(shmif_message(), g_path) != NULL);
}

static void each_port_is_listed_with_what_it_did(void) {
  const struct shmif_port_options options = {.size = sizeof options,
                                             .name = "first",
                                             .mac = {2, 0, 0, 0, 0, 1},
                                             .flags = SHMIF_PROMISCUOUS};
  shmif_port* first = NULL;
  CHECK(shmif_open(g_path, &options, &first) == 0 && shmif_up(first) == 0);
  shmif_port* second = open_port_up("second");
  shmif_port* third = open_port("third");
  send_many(first, 3);
  unsigned char in[kFrameBytes];
  for (int i = 0; i < 3; ++i) CHECK(shmif_receive(second, in, sizeof in, NULL) == kFrameBytes);
  CHECK(shmif_receive(second, in, sizeof in, NULL) == 0);

  struct shmif_port_info ports[4];
  memset(ports, 0xee, sizeof ports);
  ports[0].size = sizeof ports[0];
  CHECK(shmif_list_ports(g_path, NULL, 0) == 3);
  CHECK(shmif_list_ports(g_path, ports, 2) == 3);
  CHECK(ports[2].slot == 0xeeeeeeeeU); /* no room was given for the third */
  CHECK(shmif_list_ports(g_path, ports, 4) == 3);
  CHECK(ports[3].slot == 0xeeeeeeeeU);
  CHECK(strcmp(ports[0].name, "first") == 0 && strcmp(ports[1].name, "second") == 0 &&
        strcmp(ports[2].name, "third") == 0);
  CHECK(ports[0].slot == shmif_slot(first) && ports[2].slot == shmif_slot(third));
  CHECK(memcmp(ports[0].mac, options.mac, 6) == 0 && ports[0].pid == getpid());
  CHECK(strcmp(ports[0].kind, "library") == 0 && ports[0].size == sizeof ports[0]);
  const uint32_t always = SHMIF_PORT_LIVE | SHMIF_PORT_CARRIER | SHMIF_PORT_CARRIER_KNOWN;
  CHECK(ports[0].flags == (always | SHMIF_PORT_UP | SHMIF_PORT_PROMISCUOUS));
  CHECK(ports[1].flags == (always | SHMIF_PORT_UP) && ports[2].flags == always);
  CHECK(ports[0].tx_frames == 3 && ports[0].tx_bytes == 3 * kFrameBytes);
  CHECK(ports[1].rx_frames == 3 && ports[1].rx_bytes == 3 * kFrameBytes);
  CHECK(ports[1].tx_frames == 0 && ports[0].rx_frames == 0 && ports[1].lost_frames == 0);

  /* An array of shorter structures, of a program that knows no more. */
  enum { kShort = offsetof(struct shmif_port_info, tx_frames) };
  union {
    struct shmif_port_info whole;
    unsigned char bytes[4 * sizeof(struct shmif_port_info)];
  } row;
  memset(&row, 0xee, sizeof row);
  row.whole.size = kShort;
  CHECK(shmif_list_ports(g_path, &row.whole, 3) == 3);
  CHECK(strcmp((const char*)row.bytes + kShort + offsetof(struct shmif_port_info, name),
               "second") == 0);
  for (size_t i = (size_t)3 * kShort; i < sizeof row; ++i) CHECK(row.bytes[i] == 0xee);
  shmif_close(first);
  shmif_close(second);
  shmif_close(third);
  CHECK(shmif_list_ports(g_path, ports, 4) == 0);
}

static void a_repair_frees_the_row_of_a_dead_port(void) {
  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    open_port("dead");
    _exit(0);
  }
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  struct shmif_port_info port = {.size = sizeof port};
  CHECK(shmif_list_ports(g_path, &port, 1) == 1);
  CHECK(strcmp(port.name, "dead") == 0 && (port.flags & SHMIF_PORT_LIVE) == 0 && port.pid == child);
  CHECK(shmif_repair(g_path, 0) == 0);
  CHECK(shmif_list_ports(g_path, &port, 1) == 0);
}

static void a_port_that_takes_no_changes_is_told_from_one_that_is_not_there(void) {
  shmif_port* port = open_port("rig");
  char text[8] = "before";
  CHECK(shmif_line(g_path, "rig", text, sizeof text) == 0 && strcmp(text, "") == 0);
  CHECK(shmif_line(g_path, "gir", text, sizeof text) == -ENODEV);
  CHECK(strstr(shmif_message(), "\"gir\"") != NULL && strstr(shmif_message(), g_path) != NULL);
  CHECK(shmif_change(g_path, "rig", "link down", 2000, NULL, 0) == -EOPNOTSUPP);
  CHECK(shmif_change(g_path, "gir", "link down", 2000, NULL, 0) == -ENODEV);
  CHECK(strstr(shmif_message(), "gir") != NULL);
  CHECK(shmif_change(g_path, "rig", "link sideways", 2000, NULL, 0) == -EINVAL);
  CHECK(strstr(shmif_message(), "needs up or down") != NULL);
  shmif_close(port);
}

static void what_is_no_bus_is_refused_by_each_call(void) {
  struct shmif_bus_info info = {.size = sizeof info};
  struct shmif_port_info port = {.size = sizeof port};
  char text[8];
  const char* const none = "/nonexistent/bus";
  CHECK(shmif_inspect(none, &info) == -ENOENT && strstr(shmif_message(), none) != NULL);
  CHECK(shmif_list_ports(none, &port, 1) == -ENOENT && strstr(shmif_message(), none) != NULL);
  CHECK(shmif_line(none, "rig", text, sizeof text) == -ENOENT);
  CHECK(shmif_change(none, NULL, "heal", 0, NULL, 0) == -ENOENT);
  CHECK(shmif_repair(none, 1) == -ENOENT && shmif_inspect("/dev/null", &info) == -EINVAL);

  CHECK(is_refused(shmif_inspect(NULL, &info), "shmif_inspect:"));
  CHECK(is_refused(shmif_inspect(g_path, NULL), "shmif_inspect:"));
  CHECK(is_refused(shmif_list_ports(NULL, NULL, 0), "shmif_list_ports:"));
  CHECK(is_refused(shmif_list_ports(g_path, NULL, 1), "shmif_list_ports:"));
  CHECK(is_refused(shmif_line(g_path, NULL, text, sizeof text), "shmif_line:"));
  CHECK(is_refused(shmif_line(g_path, "rig", text, 0), "shmif_line:"));
  CHECK(is_refused(shmif_change(g_path, "rig", NULL, 0, NULL, 0), "shmif_change:"));
  CHECK(is_refused(shmif_change(g_path, "rig", "heal", -1, NULL, 0), "shmif_change:"));
  CHECK(is_refused(shmif_repair(NULL, 0), "shmif_repair:"));
  info.size = port.size = 0;
  CHECK(is_refused(shmif_inspect(g_path, &info), "shmif_inspect:"));
  CHECK(is_refused(shmif_list_ports(g_path, &port, 1), "shmif_list_ports:"));
}

const struct test_case kCases[] = {
    {"ABusTellsWhatItIsAndWhatHappenedOnIt", a_bus_tells_what_it_is_and_what_happened_on_it},
    {"ABusOfNetbsdsFormatHasNoListOfPorts", a_bus_of_netbsds_format_has_no_list_of_ports},
    {"EachPortIsListedWithWhatItDid", each_port_is_listed_with_what_it_did},
    {"ARepairFreesTheRowOfADeadPort", a_repair_frees_the_row_of_a_dead_port},
    {"APortThatTakesNoChangesIsToldFromOneThatIsNotThere",
     a_port_that_takes_no_changes_is_told_from_one_that_is_not_there},
    {"WhatIsNoBusIsRefusedByEachCall", what_is_no_bus_is_refused_by_each_call},
};
const size_t kCaseCount = sizeof kCases / sizeof kCases[0];
