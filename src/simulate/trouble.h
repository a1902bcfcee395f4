// What goes wrong in a world, from a seed: crashes, requests that kill what runs them, stalls, slow
// disks, starts and fetches that fail, devices on which all starts fail, news that is late, lost or
// doubled, memory that somebody else takes, clocks that step; and what operators do meanwhile:
// deploy, split, stop, warm, preload, delete. It ends at a given moment, when everything is healed.
//
// Thread: the world's.
#pragma once

#include <cstdint>
#include <vector>

#include "simulate/run.h"

namespace glowplug::simulate {

struct TroubleOptions {
  std::uint64_t seed = 1;
  int faults = 20;  // that do something, at least, where `length` allows it
  int acts = 5;     // of operators
  Duration length = std::chrono::minutes(10);
  std::uint64_t memory_bytes = 0;  // of the machine
};

class Trouble final : public Interruption {
 public:
  Trouble(World& world, const TroubleOptions& options);

  std::optional<Time> next() const override;
  void act() override;

  int faults_done() const { return faults_; }  // each of them did something
  int acts_done() const { return acts_; }
  Time heals_at() const { return heals_at_; }

 private:
  struct Due {
    enum class What {
      Fault,
      Act,
      Redeploy,
      DiskHeals,
      PostHeals,
      MemoryHeals,
      CallsHeal,
      AllHeals
    };
    What what = What::Fault;
    std::uint32_t function = 0;  // of Redeploy and CallsHeal
  };

  bool fault();
  bool crash_one(World::Kind kind);
  bool stall_one();
  bool outgrow_one();
  bool bad_post();
  bool take_memory();
  bool step_wall();
  bool break_device();
  bool make_deadly();
  void operate();
  void deploy_changed(std::uint32_t function);
  void heal();
  std::uint32_t any_function();

  World& world_;
  TroubleOptions options_;
  Random random_;
  Timeline<Due> due_;
  Time heals_at_;
  bool healed_ = false;
  int faults_ = 0, acts_ = 0;
};

}  // namespace glowplug::simulate
