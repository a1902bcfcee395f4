#include "policy/job_window.h"

#include <vector>

#include <gtest/gtest.h>

namespace glowplug::policy {
namespace {

void answer(JobWindow& window, int times) {
  for (int i = 0; i < times; ++i) window.answered();
}

TEST(JobWindow, BeginsWithAllPlaces_AtLeastOne) {
  EXPECT_EQ(JobWindow().places(), 1);
  EXPECT_EQ(JobWindow(80).places(), 80);
  EXPECT_EQ(JobWindow(0).places(), 1);
  EXPECT_EQ(JobWindow(-5).places(), 1);
}

TEST(JobWindow, Refused_HalvesDownToOne) {
  JobWindow window(20);
  for (const int places : {10, 5, 2, 1, 1, 1}) {
    EXPECT_TRUE(window.refused(window.start()));
    EXPECT_EQ(window.places(), places);
  }
  EXPECT_EQ(window.refused_in_a_row(), 6);
}

TEST(JobWindow, RefusalsOfOneRound_CountOnce) {
  JobWindow window(80);
  std::vector<std::uint64_t> round;
  for (int i = 0; i < 80; ++i) round.push_back(window.start());
  EXPECT_TRUE(window.refused(round[40]));
  for (const std::uint64_t number : round) EXPECT_FALSE(window.refused(number));
  EXPECT_EQ(window.places(), 40);
  EXPECT_EQ(window.refused_in_a_row(), 1);
  EXPECT_TRUE(window.refused(window.start()));  // the next round
  EXPECT_EQ(window.places(), 20);
  EXPECT_EQ(window.refused_in_a_row(), 2);
}

TEST(JobWindow, Answers_AddOnePlaceForEachWindowfulUpToAll) {
  JobWindow window(8);
  window.refused(window.start());
  EXPECT_EQ(window.places(), 4);
  answer(window, 3);
  EXPECT_EQ(window.places(), 4);
  answer(window, 2);
  EXPECT_EQ(window.places(), 5);
  EXPECT_EQ(window.refused_in_a_row(), 0);
  answer(window, 1'000);
  EXPECT_EQ(window.places(), 8);
}

TEST(JobWindow, Resize_GivesAllToWhoHadAll) {
  JobWindow window;
  window.resize(20);
  EXPECT_EQ(window.places(), 20);
  window.refused(window.start());
  window.resize(40);
  EXPECT_EQ(window.places(), 10);
  window.resize(6);
  EXPECT_EQ(window.places(), 6);
  window.resize(30);
  EXPECT_EQ(window.places(), 30);
  window.resize(0);
  EXPECT_EQ(window.places(), 1);
}

}  // namespace
}  // namespace glowplug::policy
