import type { Module } from 'plimsoll';
import { catalogModule } from './modules/catalog/module.ts';
import { inventoryModule } from './modules/inventory/module.ts';
import { loyaltyModule } from './modules/loyalty/module.ts';
import { notificationsModule } from './modules/notifications/module.ts';
import { ordersModule } from './modules/orders/module.ts';
import { paymentsModule } from './modules/payments/module.ts';
import { reviewsModule } from './modules/reviews/module.ts';
import { shippingModule } from './modules/shipping/module.ts';
import type { Outside } from './outside.ts';

/** All modules of the shop; the two that talk to the outside are given what they talk to. */
export const shopModules = (outside: Outside): readonly Module[] => [
  catalogModule,
  inventoryModule,
  reviewsModule,
  paymentsModule(outside),
  shippingModule,
  ordersModule,
  notificationsModule(outside),
  loyaltyModule,
];
