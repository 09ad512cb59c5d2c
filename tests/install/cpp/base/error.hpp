#pragma once
// A project may have a folder with the name of one of ours.
namespace consumer {
struct Error {};
}  // namespace consumer
